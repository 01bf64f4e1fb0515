"""Large values are kept outside of the database: a codec stores them as files and leaves their digest.

Temporal's `external_storage` and `custom_converter`, Hatchet's serde. A codec has two methods. They are called on the
event loop of the worker, so the files should be near. `examples/encrypted_payloads.py` is a codec that encrypts.
"""

from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import msgspec

from durable import AsyncClient, Context, JsonCodec, Worker, Workflow, workflow

LARGEST_INSIDE = 1000


class Stored(msgspec.Struct, omit_defaults=True):
    value: msgspec.Raw = msgspec.Raw(b"null")
    digest: str | None = None


class OutsideCodec(JsonCodec):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def encode(self, value: object, what: str) -> str:
        text = super().encode(value, what).encode()
        if len(text) <= LARGEST_INSIDE:
            return msgspec.json.encode(Stored(msgspec.Raw(text))).decode()
        digest = sha256(text).hexdigest()
        with NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(text)
        Path(file.name).replace(self._folder / digest)  # whole or not at all
        return msgspec.json.encode(Stored(digest=digest)).decode()

    def decode(self, text: str, type: Any, what: str) -> Any:
        stored = msgspec.json.decode(text, type=Stored)
        encoded = bytes(stored.value) if stored.digest is None else (self._folder / stored.digest).read_bytes()
        return super().decode(encoded.decode(), type, what)


async def render(title: str) -> str:
    return f"<h1>{title}</h1>" + "<p>lorem ipsum</p>" * 10_000


def rendering(folder: Path) -> Workflow[str, str]:
    @workflow(name="render", codec=OutsideCodec(folder))
    async def page(ctx: Context, title: str) -> str:
        return await ctx.execute("render", render, title)

    return page


async def main(dsn: str, folder: Path) -> str:
    wf = rendering(folder)
    async with AsyncClient(dsn) as client, Worker(dsn, [wf]):
        return await (await client.begin(wf, "Durable")).result()
