import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const api = process.env.SANDBOX_API ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
  // The page's CSP allows nothing but its own origin: no data: URIs for fonts or pictures.
  build: { assetsInlineLimit: 0, cssTarget: ["chrome123", "firefox120", "safari17.5"], modulePreload: { polyfill: false }, chunkSizeWarningLimit: 1200 },
  server: {
    proxy: {
      "/v1": api,
      "/hubs": { target: api, ws: true },
    },
  },
});
