// What is tried with every pair of a client and a server. Each check ends in silence or throws what went wrong. The clients of
// both SDKs are driven through a `Peer`, which hides how their interfaces differ.

import { EventEmitter, on } from "node:events";
import { setTimeout as pause } from "node:timers/promises";

// Only what is broken takes so long, also where a hundred tests run beside.
const PATIENCE_MS = 45_000;

/** What a client's handlers do, and what they saw. Each kind of client adds `call`, `watch` and `tools`. */
export class Peer {
    constructor(name) {
        this.name = name;
        this.events = new EventEmitter();
        this.shownUrls = [];
    }

    // The answers hold what was asked, so that a tool's result shows that both ways worked.
    elicitation = async ({ params }) => {
        if (params.mode === "url") {
            this.shownUrls.push(params.url);
            if (params.url.includes("/sign-in/")) await this.call("visit", { url: params.url });
            return { action: "accept" };
        }
        if (params.message.startsWith("Decline")) return { action: "decline" };
        return { action: "accept", content: { name: `${this.name}, asked: ${params.message}` } };
    };
    sampling = ({ params }) => {
        const content = { type: "text", text: `${this.name} thinks about: ${params.messages[0].content.text}` };
        return { role: "assistant", model: "none", content };
    };
    roots = () => ({ roots: [{ uri: `file:///home/${this.name}` }] });

    log = ({ params }) => this.events.emit("log", params.data);
    updated = ({ params }) => this.events.emit("updated", params.uri);
    changed = () => this.events.emit("changed");

    /** Causes something, and waits until `signal` for an event that passes. */
    async sees(event, passes, cause, signal) {
        const events = on(this.events, event, { signal });
        await cause();
        for await (const [value] of events) {
            if (await passes(value)) return;
        }
    }
}

function equal(found, expected) {
    if (found !== expected) throw new Error(`expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
}

const features = {
    async tool(peer) {
        equal(await peer.call("echo", { say: "hello" }), "hello");
    },

    async elicitation_form(peer) {
        const answer = await peer.call("ask_form", { question: "Who is there?" });
        equal(answer, `accept: ${peer.name}, asked: Who is there?`);
        const declined = await peer.call("ask_form", { question: "Decline this." });
        equal(declined.split(":")[0], "decline");
    },

    async elicitation_url(peer) {
        const url = `https://example.com/for/${peer.name}`;
        equal(await peer.call("ask_url", { url }), "accept");
        equal(peer.shownUrls.pop(), url);
    },

    // A legacy server refuses the call until the page was visited, which a legacy client is told as it is.
    async url_required(peer) {
        const url = `https://example.com/sign-in/${peer.name}`;
        const shownBefore = peer.shownUrls.length;
        const signIn = () => peer.call("sign_in", { url });
        const said = await signIn().catch(async (error) => {
            if (error.code !== -32042) throw error;
            for (const params of error.data.elicitations) await peer.elicitation({ params });
            return signIn();
        });
        equal(said, "signed in");
        equal(peer.shownUrls.slice(shownBefore).join(), url);
    },

    async sampling(peer) {
        const answer = await peer.call("ask_model", { question: "Why?" });
        equal(answer, `${peer.name} thinks about: Why?`);
    },

    async roots(peer) {
        equal(await peer.call("ask_roots", {}), `file:///home/${peer.name}`);
    },

    async several_asks(peer) {
        const thought = `${peer.name} thinks about: ${peer.name}, asked: First? at file:///home/${peer.name}`;
        equal(await peer.call("ask_often", {}), thought);
    },

    // Two at once: each is told of its own, and before its result. (The server goes on when it has been seen: this SDK drops
    // progress that arrives together with the result.)
    async progress(peer) {
        const count = async (to, what) => {
            const tag = `${peer.name}'s ${what}`;
            let seen = 0;
            const onprogress = ({ progress, message }) => {
                seen += 1;
                equal(`${progress} ${message}`, `${seen} ${tag}`);
                if (seen === to) peer.call("go_on", { tag });
            };
            equal(await peer.call("count", { to, tag }, { onprogress }), `counted to ${to}`);
            equal(seen, to);
        };
        await Promise.all([count(3, "apples"), count(2, "pears")]);
    },

    // The server says itself that it was told.
    async cancel(peer, signal) {
        const key = `${peer.name} waits`;
        const becomes = async (expected) => {
            while ((await peer.call("state_of", { key })) !== expected) signal.throwIfAborted();
        };
        const abort = new AbortController();
        const call = peer.call("wait", { key }, { signal: abort.signal }).then(
            () => "an answer",
            () => "no answer",
        );
        await becomes("waiting");
        abort.abort("not needed any more");
        equal(await call, "no answer");
        await becomes("cancelled");
    },

    // FastMCP wraps what is logged.
    async log(peer, signal) {
        const say = `${peer.name} was here`;
        await peer.sees("log", (data) => data === say || data.msg === say, () => peer.call("log", { say }), signal);
    },

    async subscribe(peer, signal) {
        const uri = `note:///${peer.name}`;
        const end = await peer.watch(uri);
        await peer.sees("updated", (updated) => updated === uri, () => peer.call("touch", { uri }), signal);
        await end();
    },

    // When the client is told of a change, the change is there.
    async list_changed(peer, signal) {
        const name = `grown_for_${peer.name}`;
        const end = await peer.watch();
        const isListed = async () => (await peer.tools()).includes(name);
        await peer.sees("changed", isListed, () => peer.call("grow", { name }), signal);
        // Another process of a stdio server may learn of it a little later.
        const called = () => peer.call(name, {}).catch(() => "not yet");
        while ((await called()) !== name) signal.throwIfAborted();
        await end();
    },
};

/**
 * Tries every feature, and prints one JSON object that has "ok" or what went wrong for each.
 *
 * The environment's `FEATURES` names those to try, with commas between. It begins when the tools are listed: a gate that was just started shows those of a slow server when that has started too.
 */
export async function report(peer) {
    while (!(await peer.tools()).includes("echo")) await pause(20);
    const said = {};
    for (const feature of process.env.FEATURES?.split(",") ?? Object.keys(features)) {
        const check = features[feature];
        const end = new AbortController();
        let timer;
        const late = new Promise((_resolve, reject) => {
            timer = setTimeout(() => reject(new Error("it took too long")), PATIENCE_MS);
        });
        try {
            await Promise.race([check(peer, end.signal), late]);
            said[feature] = "ok";
        } catch (error) {
            said[feature] = error.message;
        }
        clearTimeout(timer);
        end.abort();
    }
    console.log(JSON.stringify(said));
}
