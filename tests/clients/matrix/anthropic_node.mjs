import Anthropic from "@anthropic-ai/sdk";
import { ASKED, KEY, TEXT, URL_, same, tries } from "./tried.mjs";

const client = new Anthropic({ baseURL: URL_, apiKey: KEY });
const asked = { model: "leeroo", max_tokens: 99, messages: [{ role: "user", content: ASKED }] };
const input_schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

await tries("messages", async () => {
  same((await client.messages.create(asked)).content[0].text, TEXT);
});
await tries("messages, streamed", async () => {
  const final = await client.messages.stream(asked).finalMessage();
  same([final.content[0].text, final.stop_reason], [TEXT, "end_turn"]);
});
await tries("tools, streamed", async () => {
  const tools = [{ name: "find_city", input_schema }];
  const final = await client.messages.stream({ ...asked, tools }).finalMessage();
  same([final.content[0].input, final.stop_reason], [{ city: "Lima" }, "tool_use"]);
});
await tries("`countTokens`", async () => {
  const { input_tokens } = await client.messages.countTokens({ model: "leeroo", messages: asked.messages });
  same(input_tokens > 5, true);
});
await tries("errors as its own classes", async () => {
  try {
    await client.messages.create({ ...asked, model: "claude-9" });
  } catch (error) {
    if (error instanceof Anthropic.NotFoundError && error.error.error.type === "not_found_error") return;
    throw error;
  }
  throw new Error("it was not refused");
});
