"""cxrserve: chest radiographs in, findings out. Research use only, not a medical device."""

import os

__version__ = "0.1.0"

# Nothing leaves the hospital. ONNX Runtime's newer wheels upload telemetry unless this is set
# before they are first imported; the pinned one has no uploader, but an operator may update it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
