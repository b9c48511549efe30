// SPDX-License-Identifier: Apache-2.0
// The Vercel AI SDK. `record.py` runs it; AI_SDK_INTEGRATION names the class that reports its calls.

import * as telemetryIntegrations from '@ai-sdk/otel';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { NodeSDK } from '@opentelemetry/sdk-node';
import {
  embed, generateText, isStepCount, jsonSchema, registerTelemetry, streamText, tool,
} from 'ai';

const sdk = new NodeSDK({ traceExporter: new OTLPTraceExporter(), instrumentations: [] });
sdk.start();
registerTelemetry(new telemetryIntegrations[process.env.AI_SDK_INTEGRATION]());

const telemetry = { isEnabled: true, functionId: 'answer', metadata: { userId: 'acme' } };
const options = { prompt: 'canary-4711', telemetry, experimental_telemetry: telemetry };
const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL });
const anthropic = createAnthropic({ baseURL: `${process.env.ANTHROPIC_BASE_URL}/v1` });
const weather = tool({
  description: 'Say what the weather is.',
  inputSchema: jsonSchema({ type: 'object', properties: { city: { type: 'string' } } }),
  execute: async () => 'Rain',
});

async function drain(stream) {
  for await (const _ of stream) { /* as it comes */ }
}

await generateText({
  model: openai.chat('gpt-5.6-sol'), tools: { weather }, stopWhen: isStepCount(3), ...options,
});
await drain(streamText({ model: openai.chat('gpt-6-luna'), ...options }).textStream);
await generateText({ model: openai.responses('gpt-5.6-terra'), ...options });
await generateText({ model: anthropic('claude-sonnet-5-5'), ...options });
await drain(streamText({ model: anthropic('claude-opus-5-5'), ...options }).textStream);
await embed({
  model: openai.embedding('text-embedding-3-small'), value: options.prompt,
  telemetry, experimental_telemetry: telemetry,
});
await sdk.shutdown();
