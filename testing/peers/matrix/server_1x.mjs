// A server of the legacy era, written with the TypeScript SDK 1.x.
//
//     node server_1x.mjs http|sse|stdio FOLDER
//
// It keeps what its processes share in FOLDER. Over HTTP it prints its address as one line of JSON.

import http from "node:http";
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { McpServer, ResourceTemplate } from "@modelcontextprotocol/sdk/server/mcp.js";
import { SSEServerTransport } from "@modelcontextprotocol/sdk/server/sse.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import {
    ListRootsResultSchema,
    SubscribeRequestSchema,
    UnsubscribeRequestSchema,
    UrlElicitationRequiredError,
} from "@modelcontextprotocol/sdk/types.js";
import { z } from "zod";
import { SharedState } from "./shared_state.mjs";

const [, , transport, folder] = process.argv;
const state = new SharedState(folder);
const text = (said) => ({ content: [{ type: "text", text: said }] });
const nameForm = (message) => ({
    mode: "form",
    message,
    requestedSchema: { type: "object", properties: { name: { type: "string" } }, required: ["name"] },
});

/** Each session's server, with what that session is subscribed to. */
const sessions = new Map();

function newServer() {
    const capabilities = { logging: {}, resources: { subscribe: true } };
    const server = new McpServer({ name: `typescript-1-${transport}`, version: "0" }, { capabilities });

    server.registerTool("echo", { inputSchema: { say: z.string() } }, ({ say }) => text(say));

    // Asks on the stream of the call that it belongs to.
    server.registerTool("ask_form", { inputSchema: { question: z.string() } }, async ({ question }, { requestId }) => {
        const { action, content } = await server.server.elicitInput(nameForm(question), { relatedRequestId: requestId });
        return text(`${action}: ${content?.name}`);
    });

    // Asks as most servers of this SDK do: naming no call, which over HTTP is the stream of the session.
    server.registerTool("ask_url", { inputSchema: { url: z.string() } }, async ({ url }) => {
        const elicitationId = randomUUID();
        const { action } = await server.server.elicitInput({ mode: "url", message: "Please go there", url, elicitationId });
        return text(`${action}`);
    });
    server.registerTool("ask_model", { inputSchema: { question: z.string() } }, async ({ question }) => {
        const messages = [{ role: "user", content: { type: "text", text: question } }];
        const { content } = await server.server.createMessage({ messages, maxTokens: 100 });
        return text(content.text);
    });
    server.registerTool("ask_roots", {}, async ({ sendRequest }) => {
        const { roots } = await sendRequest({ method: "roots/list" }, ListRootsResultSchema);
        return text(roots.map(({ uri }) => uri).join(" "));
    });

    // Two questions at once, then one about their answers.
    server.registerTool("ask_often", {}, async () => {
        const [form, { roots }] = await Promise.all([server.server.elicitInput(nameForm("First?")), server.server.listRoots()]);
        const messages = [{ role: "user", content: { type: "text", text: `${form.content.name} at ${roots[0].uri}` } }];
        const { content } = await server.server.createMessage({ messages, maxTokens: 100 });
        return text(content.text);
    });

    // Refuses until a page was visited, and tells when it was.
    server.registerTool("sign_in", { inputSchema: { url: z.string() } }, ({ url }) => {
        if (state.read("visited", url) !== "unknown") return text("signed in");
        const elicitationId = randomUUID();
        pages.set(url, server.server.createElicitationCompletionNotifier(elicitationId));
        throw new UrlElicitationRequiredError([{ mode: "url", message: "Please sign in", url, elicitationId }]);
    });
    server.registerTool("visit", { inputSchema: { url: z.string() } }, ({ url }) => {
        state.write("visited", url);
        return text("visited");
    });

    server.registerTool(
        "count",
        { inputSchema: { to: z.number(), tag: z.string() } },
        async ({ to, tag }, { _meta, sendNotification }) => {
            for (let progress = 1; progress <= to; progress += 1) {
                const params = { progressToken: _meta?.progressToken, progress, total: to, message: tag };
                await sendNotification({ method: "notifications/progress", params });
            }
            while (state.read("go_on", tag) === "unknown") await pause(5);
            return text(`counted to ${to}`);
        },
    );
    server.registerTool("go_on", { inputSchema: { tag: z.string() } }, ({ tag }) => {
        state.write("go_on", tag);
        return text("went on");
    });

    server.registerTool("wait", { inputSchema: { key: z.string() } }, async ({ key }, { signal }) => {
        signal.addEventListener("abort", () => state.write("wait", key, "cancelled"));
        state.write("wait", key, "waiting");
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        return text("nobody reads this");
    });
    server.registerTool("state_of", { inputSchema: { key: z.string() } }, ({ key }) => text(state.read("wait", key)));

    server.registerTool("log", { inputSchema: { say: z.string() } }, async ({ say }, { sendNotification }) => {
        await sendNotification({ method: "notifications/message", params: { level: "info", data: say } });
        return text("logged");
    });

    server.registerTool("touch", { inputSchema: { uri: z.string() } }, ({ uri }) => {
        state.write("touched", uri, randomUUID());
        return text("touched");
    });
    server.registerTool("grow", { inputSchema: { name: z.string() } }, ({ name }) => {
        state.write("grown", name);
        return text("grown");
    });
    const grown = (name) => server.registerTool(name, {}, () => text(name));
    const known = new Set(state.keys("grown"));
    known.forEach(grown);

    const uris = new Set();
    const pages = new Map();
    const notes = new ResourceTemplate("note:///{name}", { list: undefined });
    server.registerResource("notes", notes, {}, (uri) => ({ contents: [{ uri: uri.href, text: "a note" }] }));
    server.server.setRequestHandler(SubscribeRequestSchema, ({ params }) => (uris.add(params.uri), {}));
    server.server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => (uris.delete(params.uri), {}));

    sessions.set(server, (kind, key) => {
        if (kind === "touched" && uris.has(key)) server.server.sendResourceUpdated({ uri: key });
        if (kind === "visited") pages.get(key)?.();
        if (kind === "grown" && !known.has(key)) known.add(key) && grown(key);
    });
    server.server.onclose = () => sessions.delete(server);
    return server;
}

// A session may end while it is told something.
process.on("unhandledRejection", (error) => console.error(error));
state.watch((kind, key) => sessions.forEach((changed) => changed(kind, key)));

async function serveSse(transports, request, response) {
    if (request.method === "GET") {
        const transport = new SSEServerTransport("/messages", response);
        transports.set(transport.sessionId, transport);
        return newServer().connect(transport);
    }
    const transport = transports.get(new URL(request.url, "http://localhost").searchParams.get("sessionId"));
    return transport ? transport.handlePostMessage(request, response) : response.writeHead(404).end();
}

async function serveStreamable(transports, request, response) {
    const session = request.headers["mcp-session-id"];
    if (session && !transports.has(session)) return response.writeHead(404).end();
    let transport = transports.get(session);
    if (!transport) {
        transport = new StreamableHTTPServerTransport({
            sessionIdGenerator: randomUUID,
            onsessioninitialized: (id) => transports.set(id, transport),
            onsessionclosed: (id) => transports.delete(id),
        });
        await newServer().connect(transport);
    }
    return transport.handleRequest(request, response);
}

if (transport === "stdio") {
    const server = newServer();
    await server.connect(new StdioServerTransport());
} else {
    const transports = new Map();
    const serve = transport === "sse" ? serveSse : serveStreamable;
    const listener = http.createServer((request, response) => {
        serve(transports, request, response).catch((error) => console.error(error));
    });
    listener.listen(0, "127.0.0.1", () => {
        console.log(JSON.stringify({ url: `http://127.0.0.1:${listener.address().port}/mcp` }));
    });
}
