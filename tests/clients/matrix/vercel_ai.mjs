import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { ASKED, KEY, TEXT, V1, same, tries } from "./tried.mjs";

const openai = createOpenAI({ baseURL: V1, apiKey: KEY });
const models = {
  "`@ai-sdk/openai`, Responses": openai("leeroo"),
  "`@ai-sdk/openai`, chat": openai.chat("leeroo"),
  "`@ai-sdk/openai-compatible`": createOpenAICompatible({
    name: "leeroo",
    baseURL: V1,
    apiKey: KEY,
    supportsStructuredOutputs: true,
  })("leeroo"),
  "`@ai-sdk/anthropic`": createAnthropic({ baseURL: V1, apiKey: KEY })("leeroo"),
};
const tools = {
  find_city: tool({
    description: "Find a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `${city} found`,
  }),
};

for (const [name, model] of Object.entries(models)) {
  await tries(`${name}: whole`, async () => {
    const answer = await generateText({ model, prompt: ASKED });
    same([answer.text, answer.usage.outputTokens], [TEXT, 9]);
  });
  await tries(`${name}: streamed`, async () => {
    const stream = streamText({ model, prompt: ASKED });
    let text = "";
    for await (const part of stream.textStream) text += part;
    same([text, await stream.finishReason], [TEXT, "stop"]);
  });
  await tries(`${name}: a loop with tools`, async () => {
    const answer = await generateText({ model, prompt: ASKED, tools, stopWhen: stepCountIs(3) });
    same([answer.steps.length, answer.text.startsWith("The tool said:")], [2, true]);
  });
  await tries(`${name}: an object`, async () => {
    const schema = z.object({ city: z.string(), people_m: z.number() });
    same((await generateObject({ model, prompt: ASKED, schema })).object, { city: "Lima", people_m: 7.5 });
  });
}
