import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { ASKED, KEY, TEXT, V1, same, tries } from "./tried.mjs";

const client = new OpenAI({ baseURL: V1, apiKey: KEY });
const messages = [{ role: "user", content: ASKED }];
const City = z.object({ city: z.string(), people_m: z.number() });
const CITY = { city: "Lima", people_m: 7.5 };
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

await tries("chat", async () => {
  const answer = await client.chat.completions.create({ model: "leeroo", messages });
  same(answer.choices[0].message.content, TEXT);
});
await tries("chat, streamed", async () => {
  let text = "";
  for await (const piece of await client.chat.completions.create({ model: "leeroo", messages, stream: true }))
    text += piece.choices[0]?.delta?.content ?? "";
  same(text, TEXT);
});
await tries("tools", async () => {
  const tools = [{ type: "function", function: { name: "find_city", parameters } }];
  const answer = await client.chat.completions.create({ model: "leeroo", messages, tools });
  same(JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments), { city: "Lima" });
});
await tries("chat `.parse`", async () => {
  const response_format = zodResponseFormat(City, "city");
  const answer = await client.chat.completions.parse({ model: "leeroo", messages, response_format });
  same(answer.choices[0].message.parsed, CITY);
});
await tries("responses", async () => {
  same((await client.responses.create({ model: "leeroo", input: ASKED })).output_text, TEXT);
});
await tries("responses, streamed", async () => {
  const stream = client.responses.stream({ model: "leeroo", input: ASKED });
  let text = "";
  for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta;
  same([text, (await stream.finalResponse()).output_text], [TEXT, TEXT]);
});
await tries("responses `.parse`", async () => {
  const text = { format: zodTextFormat(City, "city") };
  same((await client.responses.parse({ model: "leeroo", input: ASKED, text })).output_parsed, CITY);
});
await tries("embeddings", async () => {
  const answer = await client.embeddings.create({ model: "vectors", input: ["one", "three"], encoding_format: "float" });
  same(answer.data.map((one) => one.embedding), [[3, 0.5], [5, 0.5]]);
});
await tries("errors as its own classes", async () => {
  try {
    await client.chat.completions.create({ model: "gpt-9", messages });
  } catch (error) {
    if (error instanceof OpenAI.NotFoundError && error.code === "model_not_found") return;
    throw error;
  }
  throw new Error("it was not refused");
});
