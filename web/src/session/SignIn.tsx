import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { ApiError, send } from "../http/client";
import { keys } from "../http/keys";
import { Mark } from "../page/marks";

export function SignIn() {
  const client = useQueryClient();
  const [apiKey, setApiKey] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const provider = useQuery({ queryKey: ["identity-provider"], queryFn: hasProvider, staleTime: Infinity });

  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      await send("POST", "/v1/session", { apiKey: apiKey.trim() });
      await client.invalidateQueries({ queryKey: keys.session });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setProblem(error.status === 401 ? "No such key. Check that it was copied whole." : error.message);
    } finally {
      setBusy(false);
    }
  }

  return (
    <div className="sign-in">
      <section className="figure">
        <span className="wordmark"><Mark />Sandbox</span>
        <h1>One pointer, the process’s and the device’s.</h1>
        <SharedPointer />
        <p>Arm guests whose PCIe accelerator uses the guest process’s own virtual addresses. Every number here says where it came from: hardware, emulated or simulated.</p>
      </section>
      <form onSubmit={(event) => void submit(event)} data-testid="sign-in-form">
        <h2>Sign in</h2>
        <div className="field">
          <label htmlFor="api-key">API key</label>
          <input
            id="api-key" type="password" autoComplete="current-password" placeholder="sbx_…" required autoFocus
            value={apiKey} onChange={(event) => setApiKey(event.target.value)}
            aria-invalid={problem !== null} aria-describedby="api-key-note" data-testid="sign-in-key"
          />
          <span className="hint" id="api-key-note">On a development machine <code>./sandbox up</code> prints where the admin key lies.</span>
          {problem && <span className="wrong" role="alert" data-testid="sign-in-error">{problem}</span>}
        </div>
        <button className="primary" disabled={busy || apiKey.trim() === ""} data-testid="sign-in-submit">{busy ? "Signing in…" : "Sign in"}</button>
        {provider.data && <a className="button" href={providerPath} data-testid="sign-in-provider">Sign in with your identity provider</a>}
      </form>
    </div>
  );
}

const providerPath = "/v1/session/oidc";

/** Where the service has an identity provider it sends the browser there; a redirect that is not followed tells. */
async function hasProvider(): Promise<boolean> {
  return (await fetch(providerPath, { method: "HEAD", redirect: "manual", cache: "no-store" })).type === "opaqueredirect";
}

/** The shared pointer: a process and a device on either side of the SMMU, one address line through it. */
function SharedPointer() {
  return (
    <svg viewBox="0 0 560 178" role="img" aria-label="A guest process and a PCIe device reach the same page through the same virtual address">
      <g fill="none" stroke="var(--rule-strong)" strokeWidth="1.5">
        <rect x="1" y="12" width="166" height="66" rx="4" fill="var(--sunken)" />
        <rect x="393" y="12" width="166" height="66" rx="4" fill="var(--sunken)" />
        <rect x="217" y="112" width="126" height="56" rx="4" fill="var(--accent-wash)" stroke="var(--accent)" />
      </g>
      <g fill="none" stroke="var(--accent)" strokeWidth="3">
        <path d="M84 78v62h133" />
        <path d="M476 78v62H343" />
      </g>
      <g fill="var(--accent)"><circle cx="84" cy="78" r="4.5" /><circle cx="476" cy="78" r="4.5" /><circle cx="217" cy="140" r="4.5" /><circle cx="343" cy="140" r="4.5" /></g>
      <g fontFamily="var(--text)" fontSize="14" fontWeight="600" fill="var(--ink)">
        <text x="16" y="37">Guest process</text><text x="408" y="37">PCIe device</text><text x="280" y="145" textAnchor="middle">one page</text>
      </g>
      <g fontFamily="var(--code)" fontSize="13.5" fill="var(--ink-soft)">
        <text x="16" y="61">the pointer p</text><text x="408" y="61">the same p</text>
        <text x="150" y="130" textAnchor="middle">MMU</text><text x="410" y="130" textAnchor="middle">SMMU</text>
      </g>
    </svg>
  );
}
