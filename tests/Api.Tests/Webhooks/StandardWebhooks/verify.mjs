// Verifies one delivery with the reference library of Standard Webhooks: node verify.mjs FILE
// The file is JSON: secret, headers (webhook-id, webhook-timestamp, webhook-signature) and body, as it came.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const { secret, headers, body } = JSON.parse(readFileSync(process.argv[2], "utf8"));
try {
  console.log(`verified ${new Webhook(secret).verify(body, headers).type}`);
} catch (error) {
  console.log(`refused: ${error.message}`);
  process.exitCode = 1;
}
