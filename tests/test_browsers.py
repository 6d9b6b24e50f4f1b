"""What browsers are told: headers, origins, and a page that loads nothing from elsewhere."""

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from serving.browsers import add_docs, security_headers, with_cors
from watchnext.errors import UsageError

ORIGIN = "https://app.example.org"


def app() -> FastAPI:
    made = FastAPI(docs_url=None, redoc_url=None)

    @made.get("/a")
    async def a() -> str:
        return "b"

    return made


def test_headers() -> None:
    assert dict(security_headers(docs=False)) == {
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    policy = dict(security_headers(docs=True))["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "http" not in policy


def test_only_these_origins_may_ask() -> None:
    client = TestClient(with_cors(app(), (ORIGIN,)))
    assert client.get("/a", headers={"Origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN
    for other in ("https://example.org", "http://app.example.org", "null", f"{ORIGIN}.evil.org", f"{ORIGIN}:444"):
        assert "access-control-allow-origin" not in client.get("/a", headers={"Origin": other}).headers
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    assert client.options("/a", headers={"Origin": ORIGIN, **asked}).status_code == 200
    assert client.options("/a", headers={"Origin": "https://example.org", **asked}).status_code == 400
    assert "access-control-allow-credentials" not in client.get("/a", headers={"Origin": ORIGIN}).headers


def test_by_default_none_may() -> None:
    made = app()
    assert with_cors(made, ()) is made


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "",
        "example.org",
        "https://",
        "https://a/",
        "https://A.org",
        "ftp://a",
        "https://a:b",
        "https://u@a",
    ],
)
def test_what_is_no_origin(origin: str) -> None:
    with pytest.raises(UsageError, match=r"cors_origins: .* https://example\.org"):
        with_cors(app(), (origin,))


def test_the_page_needs_no_network_and_no_inline_script() -> None:
    made = app()
    add_docs(made)
    client = TestClient(made)
    page = client.get("/docs").text
    assert "//" not in page
    assert re.findall(r"<script[^>]*>[^<]", page) == []
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) == 3
    for source in sources:
        answer = client.get(f"/{source}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] in {"text/javascript", "text/css"}
    assert "SwaggerUIBundle" in client.get("/docs/swagger-ui-bundle.js").text
    for path in ("/docs/favicon.png", "/docs/..%2f__init__.py", "/docs/../core.py"):
        assert client.get(path).status_code == 404
    assert client.get("/openapi.json").json()["paths"].keys() == {"/a"}
