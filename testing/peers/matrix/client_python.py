"""A client of the modern era, written with the Python SDK 2.x. It tries what `features.mjs` does, and prints the same.

    FEATURES=tool,roots python client_python.py NAME URL
"""

import json
import os
import sys

import anyio
from mcp import Client
from mcp_types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent

NAME, URL = sys.argv[1:]
PATIENCE_SECONDS = 45

shown_urls = []
logged = []


# The answers hold what was asked, so that a tool's result shows that both ways worked.
async def elicitation(context, params):
    if params.mode == "url":
        shown_urls.append(str(params.url))
        if "/sign-in/" in shown_urls[-1]:
            await context.session.call_tool("visit", {"url": shown_urls[-1]})
        return ElicitResult(action="accept")
    if params.message.startswith("Decline"):
        return ElicitResult(action="decline")
    return ElicitResult(action="accept", content={"name": f"{NAME}, asked: {params.message}"})


async def sampling(_context, params):
    thought = f"{NAME} thinks about: {params.messages[0].content.text}"
    return CreateMessageResult(role="assistant", model="none", content=TextContent(type="text", text=thought))


async def roots(_context):
    return ListRootsResult(roots=[Root(uri=f"file:///home/{NAME}")])


async def log(params):
    logged.append(params.data["msg"] if isinstance(params.data, dict) else params.data)


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"expected {expected!r}, found {found!r}")


class Features:
    def __init__(self, client):
        self.client = client

    async def call(self, tool, progress=None, **arguments):
        result = await self.client.call_tool(tool, arguments, progress_callback=progress)
        if result.is_error:
            raise RuntimeError(result.content[0].text)
        return result.content[0].text

    async def tool(self):
        equal(await self.call("echo", say="hello"), "hello")

    async def elicitation_form(self):
        said = await self.call("ask_form", question="Who is there?")
        equal(said, f"accept: {NAME}, asked: Who is there?")
        declined = await self.call("ask_form", question="Decline this.")
        equal(declined.split(":")[0], "decline")

    async def elicitation_url(self):
        url = f"https://example.com/for/{NAME}"
        equal(await self.call("ask_url", url=url), "accept")
        equal(shown_urls.pop(), url)

    async def url_required(self):
        url = f"https://example.com/sign-in/{NAME}"
        equal(await self.call("sign_in", url=url), "signed in")
        equal(shown_urls, [url])

    async def sampling(self):
        equal(await self.call("ask_model", question="Why?"), f"{NAME} thinks about: Why?")

    async def roots(self):
        equal(await self.call("ask_roots"), f"file:///home/{NAME}")

    async def several_asks(self):
        thought = f"{NAME} thinks about: {NAME}, asked: First? at file:///home/{NAME}"
        equal(await self.call("ask_often"), thought)

    async def progress(self):
        """Two at once: each is told of its own, and before its result."""

        async def count(to, what):
            tag, seen = f"{NAME}'s {what}", []

            async def progressed(progress, total, message):
                seen.append((progress, total, message))
                if len(seen) == to:
                    tasks.start_soon(release, tag)

            equal(await self.call("count", progressed, to=to, tag=tag), f"counted to {to}")
            equal(seen, [(number, to, tag) for number in range(1, to + 1)])

        async def release(tag):
            await self.call("go_on", tag=tag)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count, 3, "apples")
            tasks.start_soon(count, 2, "pears")

    async def cancel(self):
        """The server says itself that it was told."""
        key = f"{NAME} waits"

        async def becomes(expected):
            while await self.call("state_of", key=key) != expected:
                pass

        async def wait():
            await self.call("wait", key=key)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await becomes("waiting")
            tasks.cancel_scope.cancel()
        await becomes("cancelled")

    async def log(self):
        say = f"{NAME} was here"
        await self.call("log", say=say)
        while say not in logged:
            await anyio.sleep(0.01)

    async def subscribe(self):
        uri = f"note:///{NAME}"
        async with self.client.listen(resource_subscriptions=[uri]) as changes:
            await self.call("touch", uri=uri)
            async for change in changes:
                if str(change.uri) == uri:
                    return

    async def list_changed(self):
        """When the client is told of a change, the change is there."""
        name = f"grown_for_{NAME}"
        async with self.client.listen(tools_list_changed=True) as changes:
            await self.call("grow", name=name)
            async for _ in changes:
                listed = await self.client.list_tools(cache_mode="refresh")
                if name in [tool.name for tool in listed.tools]:
                    break
        # Another process of a stdio server may learn of it a little later.
        while (called := await self.client.call_tool(name)).is_error:
            pass
        equal(called.content[0].text, name)


def reason(error):
    """Task groups wrap what went wrong inside of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__


async def main():
    answers = dict(elicitation_callback=elicitation, sampling_callback=sampling, list_roots_callback=roots)
    said = {}
    async with Client(URL, logging_callback=log, log_level="debug", **answers) as client:
        equal(client.protocol_version, "2026-07-28")
        features = Features(client)
        for name in os.environ["FEATURES"].split(","):
            try:
                with anyio.fail_after(PATIENCE_SECONDS):
                    await getattr(features, name)()
                said[name] = "ok"
            except Exception as error:
                said[name] = reason(error)
    print(json.dumps(said))


anyio.run(main)
