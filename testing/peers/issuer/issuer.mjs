// An issuer of access tokens: oidc-provider, as it is, with clients, resources and claims of a test's own.
//
//     node issuer.mjs '{"clients": {"ann": {"groups": ["analysts"], "org": "acme"}}}'
//
// Each client gets tokens for itself (client_credentials) with the claims that are named for it; its secret is
// `secret-of-` and its name. Any resource may be asked for, and any of the `scopes`.
//
// It prints `{"issuer": "http://127.0.0.1:…"}` as one line, and ends with its standard input. Besides what an issuer has:
//
//     POST /test/rotate?keep=true|false   signs with a new key from now on; the old ones are published still, or not
//     GET  /test/counts                   how often metadata and keys have been asked for

import { generateKeyPairSync, randomUUID } from "node:crypto";
import http from "node:http";
import Provider from "oidc-provider";

const {
    clients = {},
    algorithm = "RS256",
    ttl = 600,
    path = "",
    port = 0,
    scopes = ["orders:read", "orders:write"],
} = JSON.parse(process.argv[2] ?? "{}");

function newKey() {
    const pairs = {
        RS256: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
        PS256: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
        ES256: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
        ES384: () => generateKeyPairSync("ec", { namedCurve: "P-384" }),
        EdDSA: () => generateKeyPairSync("ed25519"),
    };
    const { privateKey } = pairs[algorithm]();
    return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: algorithm };
}

function newProvider(issuer, keys) {
    const provider = new Provider(issuer, {
        jwks: { keys },
        clients: Object.keys(clients).map((client_id) => ({
            client_id,
            client_secret: `secret-of-${client_id}`,
            grant_types: ["client_credentials"],
            response_types: [],
            redirect_uris: [],
            scope: scopes.join(" "),
        })),
        clientDefaults: { id_token_signed_response_alg: algorithm },
        enabledJWA: { idTokenSigningAlgValues: [algorithm] },
        scopes,
        ttl: { ClientCredentials: ttl },
        features: {
            devInteractions: { enabled: false },
            clientCredentials: { enabled: true },
            resourceIndicators: {
                enabled: true,
                getResourceServerInfo: (_context, resource) => ({
                    audience: resource,
                    scope: scopes.join(" "),
                    accessTokenFormat: "jwt",
                    accessTokenTTL: ttl,
                    jwt: { sign: { alg: algorithm } },
                }),
            },
        },
        extraTokenClaims: (_context, token) => clients[token.clientId],
    });
    return provider.callback();
}

const counts = { metadata: 0, keys: 0, tokens: 0 };
let keys = [newKey()];
let issuer;
let answer;

const server = http.createServer((request, response) => {
    const url = new URL(request.url, issuer);
    if (url.pathname === "/test/rotate") {
        keys = [newKey(), ...(url.searchParams.get("keep") === "true" ? keys : [])];
        answer = newProvider(issuer, keys);
        return response.end(JSON.stringify({ kid: keys[0].kid }));
    }
    if (url.pathname === "/test/counts") return response.end(JSON.stringify(counts));
    if (url.pathname.includes("/.well-known/")) counts.metadata += 1;
    if (url.pathname.endsWith("/jwks")) counts.keys += 1;
    if (url.pathname.endsWith("/token")) counts.tokens += 1;
    // Under a path it lives as an application of a framework would be mounted.
    if (path && request.url.startsWith(`${path}/`)) {
        request.originalUrl = request.url;
        request.url = request.url.slice(path.length);
    }
    return answer(request, response);
});

server.listen(port, "127.0.0.1", () => {
    issuer = `http://127.0.0.1:${server.address().port}${path}`;
    answer = newProvider(issuer, keys);
    console.log(JSON.stringify({ issuer }));
});
process.stdin.on("end", () => process.exit(0)).resume();
