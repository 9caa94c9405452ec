"""The normal frontal chest: parameters of one patient and the attenuation they give.

Coordinates are patient-fixed: u to the picture's right (the *patient's left*), v down, both about
-1..1 over the picture. `Grid` maps the tilted, shifted patient into pixels, so that everything
drawn in (u, v), lesions included, moves together. Attenuation is in arbitrary units; the display
is `1 - exp(-gain * attenuation)`, bright where much is absorbed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Array = npt.NDArray[np.float32]
"""float32 [H, W]."""

RIB_SPACING = 0.150


def soft(distance: npt.NDArray[np.floating], width: float) -> Array:
    """0 outside, 1 inside, a ramp of `width` around distance 0 (positive = inside)."""
    ramp = np.clip(distance * np.float32(1.0 / width) + np.float32(0.5), 0.0, 1.0)
    return np.asarray(ramp, dtype=np.float32)


@dataclass(frozen=True)
class Grid:
    """Patient coordinates of every pixel, and the way back."""

    size: int
    """Pixels per side."""
    angle: float
    """Tilt in radians."""
    zoom: float
    """Picture units per patient unit."""
    du: float
    """Shift to the right, picture units."""
    dv: float
    """Shift down, picture units."""

    def coordinates(self) -> tuple[Array, Array]:
        """u and v of each pixel centre, float32 [H, W] each."""
        axis = (np.arange(self.size, dtype=np.float32) + 0.5) * np.float32(2.0 / self.size) - np.float32(1.0)
        x = ((axis - self.du) / self.zoom)[None, :].astype(np.float32)
        y = ((axis - self.dv) / self.zoom)[:, None].astype(np.float32)
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        return cos * x + sin * y, cos * y - sin * x

    def to_pixels(self, u: npt.ArrayLike, v: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Pixel positions [..., 2] as (x, y) of points in patient coordinates."""
        us, vs = np.asarray(u, dtype=np.float64), np.asarray(v, dtype=np.float64)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x = (cos * us - sin * vs) * self.zoom + self.du
        y = (sin * us + cos * vs) * self.zoom + self.dv
        return np.stack([(x + 1.0) * self.size / 2, (y + 1.0) * self.size / 2], axis=-1)


def draw_strokes(grid: Grid, strokes: list[tuple[npt.NDArray[np.float64], float, int]]) -> Array:
    """Rasterise polylines (points [n, 2] in (u, v), width in units, gray 0..255) to [H, W] in 0..1."""
    scale = 2
    canvas = Image.new("L", (grid.size * scale, grid.size * scale))
    pen = ImageDraw.Draw(canvas)
    points = np.concatenate([points for points, _, _ in strokes])
    pixels = [(x, y) for x, y in (grid.to_pixels(points[:, 0], points[:, 1]) * scale).tolist()]
    start = 0
    for points, width, gray in strokes:
        thick = max(1, round(width * grid.size / 2 * scale))
        pen.line(pixels[start : start + len(points)], fill=gray, width=thick, joint="curve")
        start += len(points)
    return np.asarray(canvas.reduce(scale), dtype=np.float32) / np.float32(255.0)


def smooth_course(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cut the corners of a polyline [n, 2] twice (Chaikin): a lead bends, it has no corners."""
    for _ in range(2):
        first, second = points[:-1], points[1:]
        inner = np.stack([0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second], axis=1).reshape(-1, 2)
        points = np.vstack([points[:1], inner, points[-1:]])
    return points


@dataclass(frozen=True)
class Anatomy:
    """The numbers of one patient in patient units (1 = half the picture)."""

    grid: Grid
    half_width: float
    """Inner half width of the thorax at its widest."""
    apex: float
    """v of the lung apices."""
    dome: tuple[float, float]
    """v of the diaphragm domes at picture left (patient's right) and picture right."""
    ctr: float
    """Cardiothoracic ratio without cardiomegaly."""
    rib_phase: float
    """Shift of the rib cage, in spacings."""
    fat: float
    """Thickness of the soft tissue around the thorax."""
    breast: float
    """Size of the breast shadows; 0 for none."""
    frontal: bool
    """True for AP: larger heart, scapulae over the lungs, higher clavicles, marker."""
    gain: float
    """Exposure."""
    noise: float
    """Quantum noise at full display range."""
    seed: tuple[int, ...]
    """Seed of the vessels."""

    def lateral(self, v: Array | float, inset: float = 0.0) -> Array:
        """|u| of the inner chest wall at height v; `inset` shrinks the lung from wall and apex."""
        top = self.apex + 1.5 * inset
        t = np.clip((np.asarray(v, dtype=np.float32) - top) / (0.55 - top), 0.0, None)
        rim = 1.0 - np.clip(1.0 - t, 0.0, 1.0) ** np.float32(2.3)
        return np.asarray((self.half_width - inset) * (0.97 + 0.03 * t) * rim ** np.float32(0.55), dtype=np.float32)

    def diaphragm(self, u: Array, sign: int) -> Array:
        """v of the dome at u on one side (sign -1: picture left)."""
        centre = 0.42 * self.half_width
        bend = (np.abs(u) - centre) / (0.62 * self.half_width)
        dome = self.dome[(sign + 1) // 2] + 0.20 * bend * bend
        # The two domes meet smoothly under the heart.
        middle = np.clip(np.abs(u) / 0.16, 0.0, 1.0)
        return np.asarray(middle * dome + (1.0 - middle) * (sum(self.dome) / 2 + 0.10), dtype=np.float32)

    def zone_height(self, zone: str, share: float) -> float:
        """v at `share` (0..1) of the height of a zone: thirds between apex and the mean dome."""
        top, bottom = self.apex + 0.08, (self.dome[0] + self.dome[1]) / 2
        index = ("upper", "middle", "lower").index(zone)
        return top + (bottom - top) * (index + share) / 3.0

    def heart_axes(self, ctr: float) -> tuple[float, float, float, float]:
        """Centre (u, v) and semi-axes (across, down) of the heart for a cardiothoracic ratio."""
        across = ctr * self.half_width
        down = 0.30 + 0.30 * (across - 0.3)
        return 0.36 * across, max(self.dome) - 0.62 * down - 0.02, across, down


def sample_anatomy(rng: np.random.Generator, size: int, frontal: bool, seed: tuple[int, ...]) -> Anatomy:
    """Draw one patient and exposure; `frontal` is True for AP."""
    grid = Grid(
        size=size,
        angle=float(np.deg2rad(np.clip(rng.normal(0.0, 2.0), -5, 5))),
        zoom=float(rng.uniform(0.94, 1.04)),
        du=float(rng.uniform(-0.04, 0.04)),
        dv=float(rng.uniform(-0.03, 0.05)),
    )
    dome = float(rng.uniform(0.40, 0.52)) - (0.06 if frontal else 0.0)
    return Anatomy(
        grid=grid,
        half_width=float(rng.uniform(0.74, 0.82)),
        apex=float(rng.uniform(-0.80, -0.72)),
        dome=(dome, dome + float(rng.uniform(0.03, 0.08))),
        ctr=float(rng.uniform(0.40, 0.46)) * (1.09 if frontal else 1.0),
        rib_phase=float(rng.uniform(0.0, 1.0)),
        fat=float(rng.uniform(0.07, 0.16)),
        breast=float(rng.uniform(0.6, 1.0)) if rng.random() < 0.4 else 0.0,
        frontal=frontal,
        gain=float(rng.uniform(0.90, 1.15)),
        noise=float(rng.uniform(0.012, 0.026)),
        seed=seed,
    )


@dataclass(frozen=True)
class Chest:
    """The rendered normal chest and the parts that lesions need; every array is [H, W]."""

    anatomy: Anatomy
    u: Array
    v: Array
    attenuation: Array
    """The normal chest."""
    lung: tuple[Array, Array]
    """0..1 inside the lung field, picture left and picture right, above the diaphragm."""
    thorax: tuple[Array, Array]
    """0..1 inside the chest wall of each side, diaphragm ignored."""
    vessels: Array
    """Attenuation of vessels and hila, within the lungs."""
    centre: Array
    """0..1 mediastinum and heart."""

    def side(self, sign: int) -> tuple[Array, Array]:
        """(lung, thorax) of the side with that sign of u."""
        return self.lung[(sign + 1) // 2], self.thorax[(sign + 1) // 2]


def heart(anatomy: Anatomy, u: Array, v: Array, ctr: float) -> Array:
    """0..1 heart silhouette of a cardiothoracic ratio, [H, W]."""
    cu, cv, across, down = anatomy.heart_axes(ctr)
    a = (u - cu) / across
    b = (v - cv - 0.22 * (u - cu)) / down
    shape = 1.0 - np.abs(a) ** np.float32(2.3) - np.abs(b) ** np.float32(2.0)
    return soft(np.asarray(shape * 0.5 * down, dtype=np.float32), 0.035)


def rib_profile(phase: Array) -> Array:
    """Cross-section of a rib at signed phase (0 = its middle line): plateau with brighter edges."""
    away = np.abs(phase)
    plateau = soft(np.float32(0.24) - away, 0.13)
    return np.asarray(plateau * (0.7 + 3.4 * away * away), dtype=np.float32)


def posterior_phase(anatomy: Anatomy, u: Array, v: Array) -> Array:
    """Continuous rib number of the posterior ribs at each pixel."""
    s = np.abs(u) / np.float32(anatomy.half_width)
    course = 0.02 - 0.10 * s + 0.34 * s**4
    return np.asarray((v - course) / RIB_SPACING + anatomy.rib_phase, dtype=np.float32)


def _ribs(anatomy: Anatomy, u: Array, v: Array, cage: Array) -> Array:
    s = np.abs(u) / np.float32(anatomy.half_width)
    phase = posterior_phase(anatomy, u, v)
    back = rib_profile(phase - np.rint(phase)) * soft(s - np.float32(0.12), 0.15)
    course = 0.05 - 0.52 * s + 0.30 * s**4
    phase = np.asarray((v - course) / (RIB_SPACING * 1.08) + anatomy.rib_phase * 0.7, dtype=np.float32)
    front = rib_profile(phase - np.rint(phase)) * soft(s - np.float32(0.48), 0.2)
    return np.asarray((0.21 * back + 0.09 * front) * cage, dtype=np.float32)


def _vessels(anatomy: Anatomy) -> Array:
    """Vessels branching from both hila, drawn as tapering strokes, 0..1."""
    rng = np.random.default_rng(list(anatomy.seed))
    strokes: list[tuple[npt.NDArray[np.float64], float, int]] = []
    for sign in (-1, 1):
        hilum = (sign * 0.19, -0.12 - 0.03 * sign)
        for heading in np.linspace(-1.35, 1.35, 8) + rng.normal(0.0, 0.1, 8):
            tips = [(hilum, float(heading), 0.042, 190)]
            for _ in range(3):
                grown = []
                for start, angle, width, gray in tips:
                    length = rng.uniform(0.12, 0.22)
                    bent = angle + rng.normal(0.0, 0.12)
                    middle = _onwards(start, 0.5 * length, angle, sign)
                    end = _onwards(middle, 0.5 * length, bent, sign)
                    strokes.append((np.array([start, middle, end]), width, gray))
                    fork = rng.uniform(0.22, 0.5)
                    grown.append((end, bent + fork, width * 0.62, int(gray * 0.72)))
                    grown.append((end, bent - fork * 0.7, width * 0.62, int(gray * 0.72)))
                tips = grown
    return draw_strokes(anatomy.grid, strokes)


def _onwards(start: tuple[float, float], length: float, angle: float, sign: int) -> tuple[float, float]:
    """The point so far away from `start`; angles open outwards on either side."""
    return float(start[0] + length * (sign * np.cos(angle))), float(start[1] + length * np.sin(angle))


def _body(anatomy: Anatomy, u: Array, v: Array) -> Array:
    """0..1 silhouette: trunk, shoulders and neck."""
    away = np.abs(u)
    wide = anatomy.half_width + anatomy.fat + 0.55 * np.clip((-0.20 - v) / 0.6, 0.0, 1.0) ** 1.5
    trunk = np.minimum(wide - away, v + 0.90 - 0.42 * np.clip(away - 0.24, 0.0, None) ** 1.3)
    neck = 0.24 - away
    return soft(np.asarray(np.maximum(trunk, neck), dtype=np.float32), 0.03)


def _bones(anatomy: Anatomy, u: Array, v: Array) -> Array:
    """Attenuation of spine, clavicles and scapulae."""
    away = np.abs(u)
    spine = soft(np.float32(0.085) - away, 0.03)
    spine = spine * (0.14 + 0.035 * np.cos(v * np.float32(2 * np.pi / 0.135)))
    lift = 0.05 if anatomy.frontal else 0.0
    course = -0.55 - lift - 0.30 * away + 0.12 * away * away + 0.05 * np.sin(away * 6.0)
    collar = soft(0.028 + 0.012 * away - np.abs(v - course), 0.02)
    collar = collar * soft(away - np.float32(0.10), 0.04) * soft(np.float32(0.86) - away, 0.05)
    inner = 0.46 if anatomy.frontal else 0.74
    # A triangle: spine of the scapula on top, its tip pointing down.
    medial = away - inner - 0.10 * (v + 0.62)
    outer = inner + 0.36 - 0.36 * (v + 0.62) - away
    blade = np.minimum(np.minimum(medial, outer), np.minimum(v + 0.66, 0.10 - v))
    plate = soft(blade, 0.03)
    rim = plate * (1.0 - soft(blade - np.float32(0.03), 0.03))
    return np.asarray(spine + 0.24 * collar + 0.11 * plate + 0.10 * rim, dtype=np.float32)


def render_chest(anatomy: Anatomy) -> Chest:
    """Attenuation of the normal chest, and its parts, on the grid of `anatomy`."""
    u, v = anatomy.grid.coordinates()
    away = np.abs(u)
    wall = anatomy.lateral(v)
    inside = soft(wall - away, 0.035)
    halves = (u < 0).astype(np.float32), (u >= 0).astype(np.float32)
    above = tuple(soft(anatomy.diaphragm(u, sign) - v, 0.03) for sign in (-1, 1))
    lungs = inside * halves[0] * above[0], inside * halves[1] * above[1]
    field = lungs[0] + lungs[1]
    strip = 0.125 + 0.035 * np.clip(v + 0.4, 0.0, 1.0) + 0.02 * np.sin(v * 5.0)
    middle = soft(np.asarray(strip + 0.015 * np.sign(u) - away, dtype=np.float32), 0.04)
    knob = soft(np.float32(0.088) - np.hypot(u - np.float32(0.10), v + np.float32(0.35)), 0.035)
    centre = np.maximum(np.maximum(middle, knob), heart(anatomy, u, v, anatomy.ctr))
    vessels = _vessels(anatomy)
    hila = np.exp(-((away - 0.19) ** 2 / 0.006 + (v + 0.12) ** 2 / 0.020))
    markings = np.asarray((0.23 * vessels + 0.17 * hila) * field, dtype=np.float32)
    airway = soft(np.float32(0.040) - np.abs(u + 0.01), 0.03) * soft(-0.18 - v, 0.08)
    belly = inside * (1.0 - above[0] * halves[0] - above[1] * halves[1])
    bubble = np.exp(-(((u - 0.36) / 0.13) ** 2 + ((v - anatomy.dome[1] - 0.14) / 0.06) ** 2))
    breast = np.exp(-((((away - 0.42) / 0.27) ** 2 + ((v - 0.34) / 0.22) ** 2) ** 2))
    cage = soft(wall + 0.045 - away, 0.03) * soft(v - np.float32(anatomy.apex), 0.1)
    body = _body(anatomy, u, v)
    total = body * (0.74 - 0.10 * away + 0.8 * anatomy.fat)
    total = total - 0.46 * field + markings + belly * (0.70 - 0.35 * bubble * halves[1])
    total = total + 0.78 * centre * inside - 0.20 * airway + _ribs(anatomy, u, v, cage) * (1.0 - 0.55 * belly)
    total = total + _bones(anatomy, u, v) * body + 0.16 * anatomy.breast * breast
    thorax = inside * halves[0], inside * halves[1]
    attenuation = np.asarray(np.clip(total, 0.02, None), dtype=np.float32)
    return Chest(anatomy, u, v, attenuation, lungs, thorax, markings, np.asarray(centre * inside, dtype=np.float32))
