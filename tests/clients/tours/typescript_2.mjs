// The TypeScript SDK since its second major version, which speaks with sessions and without.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

import { Tour, answer, era, server } from "./tour.mjs";

const transport = server.url
  ? new StreamableHTTPClientTransport(new URL(server.url))
  : new StdioClientTransport(server);

const client = new Client(
  { name: "tour", version: "1.0.0" },
  {
    capabilities: { elicitation: { form: {} } },
    versionNegotiation: { mode: era === "2025-11-25" ? "legacy" : { pin: era } },
  },
);
client.setRequestHandler("elicitation/create", answer);
const call = (name, options) => client.callTool({ name }, options);

await client.connect(transport);
await new Tour(client, call, client.getNegotiatedProtocolVersion()).take();
await client.close();
