// A server of the modern era alone, written with the TypeScript SDK 2.x.
//
//     node server_2x.mjs
//
// It prints its address as one line of JSON.

import http from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { toNodeHandler } from "@modelcontextprotocol/node";
import {
    McpServer,
    ResourceTemplate,
    createMcpHandler,
    inputRequired,
    inputResponse,
} from "@modelcontextprotocol/server";
import { z } from "zod";

const text = (said) => ({ content: [{ type: "text", text: said }] });

// The SDK makes a server for every request; what outlives one is here.
const waiting = new Map();
const released = new Set();
const visited = new Set();
const grown = new Set();

function newServer() {
    const capabilities = { logging: {}, tools: { listChanged: true }, resources: { subscribe: true, listChanged: true } };
    const server = new McpServer({ name: "typescript-2", version: "0" }, { capabilities });
    const tool = (name, inputSchema, call) => server.registerTool(name, { inputSchema: z.object(inputSchema) }, call);

    tool("echo", { say: z.string() }, ({ say }) => text(say));

    // A question is asked by returning it; the client calls again with the answer.
    tool("ask_form", { question: z.string() }, ({ question }, { mcpReq }) => {
        const answer = inputResponse(mcpReq.inputResponses, "form");
        if (answer.kind === "elicit") return text(`${answer.action}: ${answer.content?.name}`);
        const requestedSchema = z.object({ name: z.string() });
        return inputRequired({
            inputRequests: { form: inputRequired.elicit({ message: question, requestedSchema }) },
        });
    });
    tool("ask_url", { url: z.string() }, ({ url }, { mcpReq }) => {
        const answer = inputResponse(mcpReq.inputResponses, "url");
        if (answer.kind === "elicit") return text(answer.action);
        return inputRequired({
            inputRequests: { url: inputRequired.elicitUrl({ message: "Please go there", url }) },
        });
    });
    tool("ask_model", { question: z.string() }, ({ question }, { mcpReq }) => {
        const answer = inputResponse(mcpReq.inputResponses, "model");
        if (answer.kind === "sampling") return text(answer.result.content.text);
        const messages = [{ role: "user", content: { type: "text", text: question } }];
        return inputRequired({
            inputRequests: { model: inputRequired.createMessage({ messages, maxTokens: 100 }) },
            requestState: "asked the model",
        });
    });
    tool("ask_roots", {}, (_arguments, { mcpReq }) => {
        const answer = inputResponse(mcpReq.inputResponses, "roots");
        if (answer.kind === "roots") return text(answer.roots.map(({ uri }) => uri).join(" "));
        return inputRequired({ inputRequests: { roots: inputRequired.listRoots() } });
    });

    // Two questions at once, then one about their answers, which the client carries in between.
    tool("ask_often", {}, (_arguments, { mcpReq }) => {
        const answer = (key) => inputResponse(mcpReq.inputResponses, key);
        const [form, roots, model] = [answer("form"), answer("roots"), answer("model")];
        if (model.kind === "sampling") return text(model.result.content.text);
        if (form.kind === "elicit" && roots.kind === "roots") {
            const about = `${form.content.name} at ${roots.roots[0].uri}`;
            const messages = [{ role: "user", content: { type: "text", text: about } }];
            return inputRequired({
                inputRequests: { model: inputRequired.createMessage({ messages, maxTokens: 100 }) },
                requestState: about,
            });
        }
        const requestedSchema = z.object({ name: z.string() });
        return inputRequired({
            inputRequests: {
                form: inputRequired.elicit({ message: "First?", requestedSchema }),
                roots: inputRequired.listRoots(),
            },
        });
    });

    // Asks to visit a page until it was.
    tool("sign_in", { url: z.string() }, ({ url }) => {
        if (visited.has(url)) return text("signed in");
        return inputRequired({ inputRequests: { page: inputRequired.elicitUrl({ message: "Please sign in", url }) } });
    });
    tool("visit", { url: z.string() }, ({ url }) => {
        visited.add(url);
        return text("visited");
    });

    tool("count", { to: z.number(), tag: z.string() }, async ({ to, tag }, { mcpReq }) => {
        for (let progress = 1; progress <= to; progress += 1) {
            const params = { progressToken: mcpReq._meta?.progressToken, progress, total: to, message: tag };
            await mcpReq.notify({ method: "notifications/progress", params });
        }
        while (!released.has(tag)) await pause(5);
        return text(`counted to ${to}`);
    });
    tool("go_on", { tag: z.string() }, ({ tag }) => {
        released.add(tag);
        return text("went on");
    });

    tool("wait", { key: z.string() }, async ({ key }, { mcpReq }) => {
        waiting.set(key, "waiting");
        await new Promise((resolve) => mcpReq.signal.addEventListener("abort", resolve));
        waiting.set(key, "cancelled");
        return text("nobody reads this");
    });
    tool("state_of", { key: z.string() }, ({ key }) => text(waiting.get(key) ?? "unknown"));

    tool("log", { say: z.string() }, async ({ say }, { mcpReq }) => {
        await mcpReq.log("info", say);
        return text("logged");
    });

    tool("touch", { uri: z.string() }, ({ uri }) => {
        handler.notify.resourceUpdated(uri);
        return text("touched");
    });
    tool("grow", { name: z.string() }, ({ name }) => {
        grown.add(name);
        handler.notify.toolsChanged();
        return text("grown");
    });
    grown.forEach((name) => tool(name, {}, () => text(name)));

    const notes = new ResourceTemplate("note:///{name}", { list: undefined });
    server.registerResource("notes", notes, {}, (uri) => ({ contents: [{ uri: uri.href, text: "a note" }] }));
    return server;
}

const handler = createMcpHandler(newServer, { legacy: "reject" });
const listener = http.createServer(toNodeHandler(handler));
listener.listen(0, "127.0.0.1", () => {
    console.log(JSON.stringify({ url: `http://127.0.0.1:${listener.address().port}/mcp` }));
});
