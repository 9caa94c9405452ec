"""RadEval's metrics of reports (Xu et al., EMNLP 2025), computed in an environment of their own by a worker process.

Its packages and model weights need other versions than ours, so nothing of it is ever imported here. `mmedpo metrics
install radeval` prepares the environment; where it is absent the metrics are labelled not computed.
"""
