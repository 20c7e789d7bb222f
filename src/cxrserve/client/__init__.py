"""A client of the REST API: radiographs in, `Answer`s out. It imports nothing of the serving side.

    from cxrserve.client import Client

    with Client("http://localhost:3000") as client:
        print(client.predict("film.dcm", models="triage", deadline_ms=2000))

Requests that find the service busy or gone are sent again, when it says and while it makes sense.
"""

from cxrserve.client.asynchronous import AsyncClient
from cxrserve.client.blocking import Client
from cxrserve.client.errors import UnexpectedAnswer, Unreachable, UnreadableFile
from cxrserve.client.many import Outcome
from cxrserve.client.retries import ONCE, Retries
from cxrserve.model_listing import ModelDetail, ModelList

__all__ = [
    "ONCE",
    "AsyncClient",
    "Client",
    "ModelDetail",
    "ModelList",
    "Outcome",
    "Retries",
    "UnexpectedAnswer",
    "Unreachable",
    "UnreadableFile",
]
