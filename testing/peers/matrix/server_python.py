"""A server of the modern era, written with FastMCP 4 (over HTTP) or with the Python SDK 2.x (over stdio).

    python server_python.py fastmcp|mcp

Over HTTP it prints its address as one line of JSON.
"""

import json
import os
import socket
import sys

import anyio
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)

KIND = sys.argv[1]
if KIND == "fastmcp":
    os.environ["FASTMCP_LOG_LEVEL"] = "CRITICAL"
    from fastmcp import Context, FastMCP as Server
else:
    from mcp.server.mcpserver import Context, MCPServer as Server

server = Server(f"python-{KIND}", version="0")
waiting: dict[str, str] = {}
released: dict[str, anyio.Event] = {}
visited: set[str] = set()


def tool(function):
    options = {"output_schema": None} if KIND == "fastmcp" else {"structured_output": False}
    return server.tool(**options)(function)


def ask(state=None, **requests):
    return InputRequiredResult(input_requests=requests, request_state=state)


def name_form(question):
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    return ElicitRequest(params=ElicitRequestFormParams(message=question, requested_schema=schema))


def page_visit(message, url):
    return ElicitRequest(params=ElicitRequestURLParams(message=message, url=url))


def thought_about(text):
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100))


def answer(context, key):
    return (context.input_responses or {}).get(key)


@tool
async def echo(say: str):
    return say


# A question is asked by returning it; the client calls again with the answer.
@tool
async def ask_form(question: str, context: Context):
    if form := answer(context, "form"):
        return f"{form.action}: {(form.content or {}).get('name')}"
    return ask(form=name_form(question))


@tool
async def ask_url(url: str, context: Context):
    if went := answer(context, "url"):
        return went.action
    return ask(url=page_visit("Please go there", url))


@tool
async def ask_model(question: str, context: Context):
    if thought := answer(context, "model"):
        return thought.content.text
    return ask(model=thought_about(question), state="asked the model")


@tool
async def ask_roots(context: Context):
    if found := answer(context, "roots"):
        return " ".join(str(root.uri) for root in found.roots)
    return ask(roots=ListRootsRequest())


@tool
async def ask_often(context: Context):
    """Two questions at once, then one about their answers, which the client carries in between."""
    if thought := answer(context, "model"):
        return thought.content.text
    form, found = answer(context, "form"), answer(context, "roots")
    if form and found:
        about = f"{form.content['name']} at {found.roots[0].uri}"
        return ask(model=thought_about(about), state=about)
    return ask(form=name_form("First?"), roots=ListRootsRequest())


@tool
async def sign_in(url: str):
    """Asks to visit a page until it was."""
    return "signed in" if url in visited else ask(page=page_visit("Please sign in", url))


@tool
async def visit(url: str):
    visited.add(url)
    return "visited"


@tool
async def count(to: int, tag: str, context: Context):
    for progress in range(1, to + 1):
        await context.report_progress(progress, to, tag)
    await released.setdefault(tag, anyio.Event()).wait()
    return f"counted to {to}"


@tool
async def go_on(tag: str):
    released.setdefault(tag, anyio.Event()).set()
    return "went on"


@tool
async def wait(key: str):
    waiting[key] = "waiting"
    try:
        await anyio.sleep_forever()
    finally:
        waiting[key] = "cancelled"


@tool
async def state_of(key: str):
    return waiting.get(key, "unknown")


@tool
async def log(say: str, context: Context):
    await context.info(say)
    return "logged"


def told(context):
    """Changes are told to whoever listens. FastMCP has no `subscriptions/listen`, so nobody can."""
    if KIND == "fastmcp":
        raise NotImplementedError("FastMCP tells nobody of changes")
    return context


@tool
async def touch(uri: str, context: Context):
    await told(context).notify_resource_updated(uri)
    return "touched"


@tool
async def grow(name: str, context: Context):
    async def grown():
        return name

    grown.__name__ = name
    tool(grown)
    await told(context).notify_tools_changed()
    return "grown"


@server.resource("note:///{name}")
async def note(name: str) -> str:
    return "a note"


if KIND == "fastmcp":
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"}), flush=True)
    uvicorn.Server(uvicorn.Config(server.http_app(), log_level="warning")).run(sockets=[listener])
else:
    server.run("stdio")
