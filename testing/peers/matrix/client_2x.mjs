// A client of the modern era alone, written with the TypeScript SDK 2.x.
//
//     node client_2x.mjs NAME URL

import { Client, LOG_LEVEL_META_KEY, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { Peer, report } from "./features.mjs";

const [, , name, url] = process.argv;

class Peer2 extends Peer {
    client = new Client(
        { name: this.name, version: "0" },
        {
            capabilities: { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} },
            versionNegotiation: { mode: { pin: "2026-07-28" } },
        },
    );

    async connect(transport) {
        this.client.setRequestHandler("elicitation/create", this.elicitation);
        this.client.setRequestHandler("sampling/createMessage", this.sampling);
        this.client.setRequestHandler("roots/list", this.roots);
        this.client.setNotificationHandler("notifications/message", this.log);
        this.client.setNotificationHandler("notifications/resources/updated", this.updated);
        this.client.setNotificationHandler("notifications/tools/list_changed", this.changed);
        await this.client.connect(transport);
    }

    async call(tool, args, options) {
        const params = { name: tool, arguments: args, _meta: { [LOG_LEVEL_META_KEY]: "debug" } };
        const { content, isError } = await this.client.callTool(params, options);
        if (isError) throw new Error(content[0].text);
        return content[0].text;
    }

    async tools() {
        return (await this.client.listTools(undefined, { cacheMode: "refresh" })).tools.map((tool) => tool.name);
    }

    /** Nothing is told unless one listens. */
    async watch(uri) {
        const subscription = await this.client.listen(uri ? { resourceSubscriptions: [uri] } : { toolsListChanged: true });
        return () => subscription.close();
    }
}

const peer = new Peer2(name);
await peer.connect(new StreamableHTTPClientTransport(new URL(url)));
await report(peer);
await peer.client.close();
process.exit(0);
