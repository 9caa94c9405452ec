"""Report sections: headings as radiologists type them; what is not understood is told, never gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.data.report_text import ReportSections, report_sections

BOTH = {"findings": "The lungs are clear.", "impression": "No acute process."}


@pytest.mark.parametrize(
    ("findings", "impression"),
    [
        ("FINDINGS", "IMPRESSION"),
        ("FINDNGS", "IMPRESSON"),
        ("FIDINGS", "IMPRESION"),
        ("FINIDNGS", "IMPRSSION"),
        ("FINDINGSS", "IMPRESSIONS"),
        ("FINDING(S)", "CONCLUSION"),
        ("CHEST, TWO VIEWS", "IMPRESSION"),
        ("PA AND LATERAL CHEST RADIOGRAPHS", "INTERPRETATION"),
        ("SINGLE AP VIEW OF THE CHEST", "CONCLUSIONS"),
        ("Findings", "Impression"),
        ("REPORT FINDINGS", "FINAL IMPRESSION"),
    ],
)
def test_both_sections_are_read_under_any_heading(findings: str, impression: str) -> None:
    text = (
        f" FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n INDICATION:  Cough.\n\n {findings}: \n \n"
        f" The lungs  are clear.\n\n {impression}:\n No acute process.\n\n NOTIFICATION:  Dr. ___ by phone.\n"
    )
    found = report_sections(text)
    assert found.texts == BOTH
    assert found.unread == ()


def test_a_heading_may_stand_alone_on_its_line() -> None:
    assert report_sections("INDICATION: x\nFINDINGS\nThe lungs are clear.\nIMPRESSION\nNo acute process.").texts == BOTH


def test_sub_headings_stay_inside_findings_and_impression() -> None:
    text = (
        "FINDINGS:\nLINES AND TUBES: PICC in the SVC.\nCHEST WALL: Normal.\nBONES: No fracture.\n"
        "IMPRESSION:\n1. PICC.\nLUNGS: Clear.\nRECOMMENDATION: CT."
    )
    found = report_sections(text)
    assert found.texts == {
        "findings": "LINES AND TUBES: PICC in the SVC. CHEST WALL: Normal. BONES: No fracture.",
        "impression": "1. PICC. LUNGS: Clear.",
    }


def test_a_heading_of_views_is_findings_only_where_there_are_no_other() -> None:
    text = "CHEST, TWO VIEWS: Comparison is made with ___.\nTECHNIQUE: Digital.\nFINDINGS: Clear."
    assert report_sections(text).texts == {"findings": "Clear."}


def test_what_is_not_read_is_told() -> None:
    text = "BRONCHOSCOPY NOTE: Blood.\nFINDINGS: Clear.\nHISTORY: Pain.\nFINDINGS: Not clear."
    found = report_sections(text)
    assert found.texts == {"findings": "Clear."}
    assert found.unread == ("BRONCHOSCOPY NOTE", "FINDINGS")


@pytest.mark.parametrize("heading", ["EXPRESSION", "INDICATIONS", "COMPARISION", "TECHNQUE", "HISTROY", "MEDIASTINUM"])
def test_headings_that_only_look_alike_are_neither(heading: str) -> None:
    assert report_sections(f"{heading}: something.").texts == {}


@given(st.text("FINDGSIMPRESO:\n .aA", max_size=200))
def test_any_text_has_sections(text: str) -> None:
    found = report_sections(text)
    assert set(found.texts) <= {"findings", "impression"}
    assert all(content and content in " ".join(text.split()) for content in found.texts.values())


@pytest.mark.parametrize(
    "text",
    [
        "findings: The lungs are clear.\nimpression: No acute process.",
        "Findings\nThe lungs are clear.\nImpression\nNo acute process.",
        "**FINDINGS:** The lungs are clear.\n**IMPRESSION:** No acute process.",
        "## Findings\nThe lungs are clear.\n## Impression\nNo acute process.",
        "FINDINGS - The lungs are clear.\nFINAL IMPRESSION - No acute process.",
        "FINDINGS; The lungs are clear.\nIMPRESSION; No acute process.",
        "FINDINGS：The lungs are clear.\nIMPRESSION：No acute process.",
        "HISTORY: cough. FINDINGS: The lungs are clear. IMPRESSION: No acute process.",
    ],
)
def test_headings_are_told_by_their_words_where_their_form_is_another(text: str) -> None:
    assert report_sections(text).texts == BOTH


@pytest.mark.parametrize(
    "line",
    [
        "findings of note: a nodule.",
        "Impression of a mass - unclear.",
        "2. RECOMMENDATION: none.",
        "these findings: ok.",
    ],
)
def test_a_sentence_that_begins_like_a_heading_is_none(line: str) -> None:
    assert report_sections(f"FINDINGS: Clear.\n{line}").texts == {"findings": f"Clear. {line}"}


def test_a_provisional_reading_gives_way_to_the_final_one() -> None:
    final = "FINDINGS: The lungs are clear.\nIMPRESSION: No acute process."
    text = f"PROVISIONAL FINDINGS IMPRESSION (PFI): Effusion.\n{final}"
    found = report_sections(text)
    assert found.texts == BOTH
    assert found.unread == ("PROVISIONAL FINDINGS IMPRESSION (PFI)",)


@pytest.mark.parametrize("number", ["{}. ", "{}) ", "({}) ", "{}."])
def test_headings_may_have_numbers(number: str) -> None:
    one, two = number.format(1), number.format(2)
    assert report_sections(f"{one}FINDINGS: The lungs are clear.\n{two}IMPRESSION: No acute process.").texts == BOTH
    assert report_sections(f"{one}Findings:\nThe lungs are clear.\n{two}Impression:\nNo acute process.").texts == BOTH
    text = "I. INDICATION: Cough.\nII. FINDINGS\nThe lungs are clear.\nIII. IMPRESSION\nNo acute process."
    assert report_sections(text).texts == BOTH


def test_numbered_items_of_an_impression_are_no_headings() -> None:
    text = "IMPRESSION:\n1. Pneumonia: left.\n2. EFFUSION: small.\n3. No fracture."
    assert report_sections(text).texts == {"impression": "1. Pneumonia: left. 2. EFFUSION: small. 3. No fracture."}


@pytest.mark.parametrize(
    "text",
    [
        "The lungs are clear.\n No effusion.",
        "FINAL REPORT\n The lungs are clear.\n No effusion.",
        "FINAL REPORT\n EXAMINATION: CXR\n CHEST, TWO VIEWS: The lungs are clear. No effusion.",
        "RADIOLOGY REPORT: The lungs are clear. No effusion.",
        "   The lungs   are clear. No effusion.  ",
        "WET READ: No pneumothorax.\n ____\n FINAL REPORT\n HISTORY:  Pain.\n \n The lungs are clear. No effusion.\n",
        "EXAMINATION: CXR\n\nINDICATION: Cough.\n\nThe lungs are clear.\n\nNo effusion.\n\nNOTIFICATION: Dr. ___.",
        "REASON FOR EXAM: Cough.\n\n  The lungs are clear. No effusion.",
    ],
)
def test_a_report_without_headings_states_its_findings(text: str) -> None:
    assert report_sections(text).texts == {"findings": "The lungs are clear. No effusion."}


@pytest.mark.parametrize(
    "text", ["", "  \n", "___", "INDICATION: Cough.\n\n", "TECHNIQUE: AP.\n\nx y", "PRELIMINARY REPORT: Effusion."]
)
def test_what_is_no_report_has_no_findings(text: str) -> None:
    assert report_sections(text).texts == {}


@pytest.mark.parametrize(
    "text",
    [
        "FINDINGS:\rLungs clear.\rIMPRESSION:\rNormal.",
        "FINDINGS\xa0: Lungs clear.\nIMPRESSION\xa0: Normal.",
        "<b>FINDINGS:</b> Lungs clear.<br/><b>IMPRESSION:</b> Normal.",
        "<p>FINDINGS: Lungs clear.</p><p>IMPRESSION: Normal.</p>",
        "[FINDINGS] Lungs clear.\n[Impression]: Normal.",
        "FINDINGS = Lungs clear.\nIMPRESSION = Normal.",
        "FINDINGS..... Lungs clear.\nIMPRESSION... Normal.",
        "FINDINGS\n--------\nLungs clear.\nIMPRESSION\n==========\nNormal.",
        "FINDINGS\n: Lungs clear.\nIMPRESSION\n: Normal.",
    ],
)
def test_headings_as_spreadsheets_web_pages_and_people_write_them(text: str) -> None:
    assert report_sections(text) == ReportSections({"findings": "Lungs clear.", "impression": "Normal."})
