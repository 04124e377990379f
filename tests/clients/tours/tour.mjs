// What tour.py is for programs in Python. Both versions of the TypeScript SDK have the same methods,
// so what they do is here; how they connect is in a file of each.

const SIGHTS = [
  "version",
  "tools",
  "text",
  "progress",
  "image",
  "error",
  "form",
  "resources",
  "prompts",
  "completion",
];

/** Who answers forms. */
const PERSON = { name: "Ada" };

/** The version of the protocol that the client is to speak. */
export const era = process.argv[2];

/** The server, as a client's configuration names it: by a command, or by a URL. */
export const server = JSON.parse(process.argv[3]);

export class Tour {
  /** Takes a client that is connected, how it calls a tool, and the version that it agreed on. */
  constructor(client, call, version) {
    Object.assign(this, { client, call, agreed: version });
  }

  /** Has the client do all that it can, and prints what it saw as one JSON object. */
  async take() {
    const seen = {};
    for (const sight of SIGHTS) {
      try {
        seen[sight] = await this[sight]();
      } catch (error) {
        seen[sight] = { failed: String(error) };
      }
    }
    console.log(JSON.stringify(seen));
  }

  version() {
    return this.agreed;
  }

  async tools() {
    return (await this.client.listTools()).tools.map((tool) => tool.name);
  }

  async text() {
    return (await this.call("test_simple_text")).content[0].text;
  }

  async progress() {
    const steps = [];
    const onprogress = ({ progress, total }) => steps.push([progress, total]);
    // Progress that arrives in one piece with the result finds that nobody listens any more, and the
    // SDK tells it as an error.
    this.client.onerror = ({ message }) => {
      const [, late] = message.split("unknown token: ");
      if (late) onprogress(JSON.parse(late).params);
    };
    await this.call("test_tool_with_progress", { onprogress });
    return steps;
  }

  async image() {
    const [picture] = (await this.call("test_image_content")).content;
    return { type: picture.mimeType, data: picture.data };
  }

  async error() {
    const { isError, content } = await this.call("test_error_handling");
    return { is_error: isError, text: content[0].text };
  }

  async form() {
    const { content } = await this.call("test_input_required_result_elicitation");
    return { question, answer: content[0].text };
  }

  async resources() {
    const { resources } = await this.client.listResources();
    const { contents } = await this.client.readResource({ uri: "test://static-text" });
    return { listed: resources.map((one) => one.uri), read: contents[0].text };
  }

  async prompts() {
    const { prompts } = await this.client.listPrompts();
    const { messages } = await this.client.getPrompt({
      name: "test_prompt_with_arguments",
      arguments: { arg1: "tea", arg2: "salt" },
    });
    return { listed: prompts.map((one) => one.name), got: messages[0].content.text };
  }

  async completion() {
    const { completion } = await this.client.complete({
      ref: { type: "ref/prompt", name: "test_prompt_with_arguments" },
      argument: { name: "arg1", value: "par" },
    });
    return completion.values;
  }
}

let question;

/** Answers the form that a tool has for the person. */
export async function answer({ params }) {
  question = params.message;
  return { action: "accept", content: PERSON };
}
