"""Does a server speak the Open Inference Protocol v2? A suite that asks any server, and says.

A check (`checks.py`) is a small function that asks a server one thing. Those over HTTP live in
`over_http`, those over gRPC in `over_grpc`; `suite.py` runs them, `report.py` shows what came of
them, `command.py` is the command line. Nothing here imports the service: any server may be asked.
"""
