// The TypeScript SDK before its second major version, which opens sessions only.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

import { Tour, answer, server } from "./tour.mjs";

const transport = server.url
  ? new StreamableHTTPClientTransport(new URL(server.url))
  : new StdioClientTransport(server);

// The client tells its transport on which version it agreed, and nobody else.
let version;
const tell = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (agreed) => {
  version = agreed;
  tell?.(agreed);
};

const capabilities = { elicitation: { form: {} } };
const client = new Client({ name: "tour", version: "1.0.0" }, { capabilities });
client.setRequestHandler(ElicitRequestSchema, answer);
const call = (name, options) => client.callTool({ name }, undefined, options);

await client.connect(transport);
await new Tour(client, call, version).take();
await client.close();
