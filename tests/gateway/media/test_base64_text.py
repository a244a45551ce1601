"""Base64 as clients write it, decoded in slices."""

import asyncio
import base64
from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media import base64_text
from gateway.media.base64_text import SLICE, NotBase64, body_of, decoded

pytestmark = pytest.mark.anyio


async def read(text: bytes) -> bytes:
    return await decoded(body_of(memoryview(text)))


Form = Callable[[bytes], bytes]
FORMS: list[Form] = [
    base64.b64encode,
    base64.urlsafe_b64encode,
    base64.encodebytes,
    lambda data: base64.b64encode(data).rstrip(b"="),
    lambda data: b"data:image/png;base64," + base64.b64encode(data),
    lambda data: b"data:;base64," + base64.b64encode(data),
    lambda data: b"DATA:audio/wav;rate=16000;BASE64," + base64.b64encode(data),
]


@pytest.mark.parametrize("form", FORMS)
@given(data=st.binary(max_size=200))
def test_every_form_is_read(form: Form, data: bytes) -> None:
    assert asyncio.run(read(form(data))) == data


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("more", range(4))
async def test_what_has_several_slices(form: Form, more: int) -> None:
    data = bytes(range(256)) * (3 * SLICE // 256) + b"x" * more
    assert await read(form(data)) == data


@pytest.mark.parametrize(
    "text",
    [
        b"A",
        b"AAAAA",
        b"AA=A",
        b"AAA=AAAA",
        b"!!!!",
        b"data:image/png,AAAA",
        b"data:image/png;base64",
        b"data:\xff;base64,AAAA",
        b"A" * SLICE + b"=" * 4 + b"A" * SLICE,
        b"A" * (SLICE - 1) + b"=" + b"A" * SLICE,
        b"A" * SLICE + b"!" * SLICE,
        b"A" * (2 * SLICE) + b"A",
    ],
)
async def test_what_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(NotBase64):
        await read(text)


async def test_a_digest_is_the_same_in_a_thread() -> None:
    for data in (b"", b"x", b"x" * base64_text.IN_THREAD):
        assert await base64_text.digest(data) == sha256(data).hexdigest()
