// A client of the legacy era, written with the TypeScript SDK 1.x.
//
//     node client_1x.mjs NAME http|sse URL
//     node client_1x.mjs NAME stdio COMMAND [ARGUMENT...]

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
    CreateMessageRequestSchema,
    ElicitRequestSchema,
    ListRootsRequestSchema,
    LoggingMessageNotificationSchema,
    ResourceUpdatedNotificationSchema,
    ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { Peer, report } from "./features.mjs";

const [, , name, kind, target, ...args] = process.argv;

class Peer1 extends Peer {
    client = new Client(
        { name: this.name, version: "0" },
        { capabilities: { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} } },
    );

    async connect(transport) {
        this.client.setRequestHandler(ElicitRequestSchema, this.elicitation);
        this.client.setRequestHandler(CreateMessageRequestSchema, this.sampling);
        this.client.setRequestHandler(ListRootsRequestSchema, this.roots);
        this.client.setNotificationHandler(LoggingMessageNotificationSchema, this.log);
        this.client.setNotificationHandler(ResourceUpdatedNotificationSchema, this.updated);
        this.client.setNotificationHandler(ToolListChangedNotificationSchema, this.changed);
        await this.client.connect(transport);
        await this.client.setLoggingLevel("debug");
    }

    async call(tool, args, options) {
        const { content, isError } = await this.client.callTool({ name: tool, arguments: args }, undefined, options);
        if (isError) throw new Error(content[0].text);
        return content[0].text;
    }

    async tools() {
        return (await this.client.listTools()).tools.map((tool) => tool.name);
    }

    /** Changes of lists are told unasked. */
    async watch(uri) {
        if (!uri) return () => {};
        await this.client.subscribeResource({ uri });
        return () => this.client.unsubscribeResource({ uri });
    }
}

const transports = {
    http: () => new StreamableHTTPClientTransport(new URL(target)),
    sse: () => new SSEClientTransport(new URL(target)),
    stdio: () => new StdioClientTransport({ command: target, args, env: process.env }),
};
const peer = new Peer1(name);
await peer.connect(transports[kind]());
await report(peer);
await peer.client.close();
process.exit(0);
