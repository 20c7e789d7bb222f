"""FastAPI and ONNX Runtime in a thread pool: what a team writes that wants no framework."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from fastapi import FastAPI, Request
from load_tests.peers import network

app = FastAPI()
# A thread a core, one thread of ONNX Runtime each: Pillow and ONNX Runtime release the GIL.
pool = ThreadPoolExecutor(network.cores())
chest = network.ChestNetwork(threads=1)


def answer(image: bytes) -> list[float]:
    """Decode and run one image, on a thread of the pool."""
    values: list[float] = chest.probabilities(chest.pixels_of(image)[None])[0].tolist()
    return values


@app.get("/ready")
async def ready() -> bool:
    """The network was loaded before the server listens."""
    return True


@app.post("/predict")
async def predict(request: Request) -> dict[str, list[float]]:
    """Answer one image, the raw body."""
    image = await request.body()
    return {"probabilities": await asyncio.get_running_loop().run_in_executor(pool, answer, image)}


if __name__ == "__main__":
    # uvloop and httptools come with `uvicorn[standard]` and are used by default.
    uvicorn.run(app, host="127.0.0.1", port=network.port(), access_log=False, log_level="warning")
