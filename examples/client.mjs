#!/usr/bin/env node
// Classifies photos with a running server, all in one request, and prints their labels. Needs Node 18, no packages.
//
//     node examples/client.mjs cat.jpg dog.jpg
//     CLASSIFIER_URL=http://127.0.0.1:8080/predictions/my-model node examples/client.mjs cat.jpg

import { readFile } from "node:fs/promises";

const url = process.env.CLASSIFIER_URL ?? "http://127.0.0.1:8080/predictions/cat-breeds";
const ATTEMPTS = 6;

// Resolves to one prediction or one {error: {code, message}} per photo, in their order, as in docs/api.md.
// Rejects when no answer comes, or when the server refuses the request as a whole.
async function classify(photos) {
  const body = JSON.stringify({ images: photos.map((photo) => photo.toString("base64")), top_k: 3 });
  for (let attempt = 1; ; attempt++) {
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body,
      signal: AbortSignal.timeout(60_000),
    });
    const text = await response.text();
    // 503: the queue is full or the server is starting. A photo can safely be sent again.
    if (response.status === 503 && attempt < ATTEMPTS) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      continue;
    }
    // When every photo is refused the status is that of the first error, and the predictions are there all the same.
    let answer = {};
    try {
      answer = JSON.parse(text);
    } catch {
      // TorchServe answers a body that is too large with 413 and no text.
    }
    if (answer.predictions) return answer.predictions;
    const error = answer.error ?? { code: response.status, message: text || response.statusText };
    throw new Error(`${error.code}: ${error.message}`);
  }
}

const names = process.argv.slice(2);
try {
  const predictions = await classify(await Promise.all(names.map((name) => readFile(name))));
  predictions.forEach((prediction, index) => {
    if (prediction.error) {
      process.exitCode = 1;
      console.error(`${names[index]}: ${prediction.error.code}: ${prediction.error.message}`);
    } else {
      const labels = prediction.labels.map((label) => `${label.name} ${label.score.toFixed(3)}`);
      console.log(`${names[index]}: ${labels.join(", ") || "no label"}`);
    }
  });
} catch (error) {
  process.exitCode = 1;
  console.error(error.cause ? `${error.message}: ${error.cause.message}` : error.message);
}
