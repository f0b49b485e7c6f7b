import { useSyncExternalStore } from "react";

export type Theme = "light" | "dark";

const store = "sandbox.theme";
const changed = "sandbox:theme";
const systemDark = window.matchMedia("(prefers-color-scheme: dark)");

export function currentTheme(): Theme {
  const chosen = document.documentElement.dataset.theme;
  if (chosen === "light" || chosen === "dark") return chosen;
  return systemDark.matches ? "dark" : "light";
}

export function restoreTheme(): void {
  const stored = localStorage.getItem(store);
  if (stored === "light" || stored === "dark") document.documentElement.dataset.theme = stored;
}

/** Back to the system's choice is kept as no choice, so that the page goes on following it. */
export function toggleTheme(): void {
  const next: Theme = currentTheme() === "dark" ? "light" : "dark";
  if (next === (systemDark.matches ? "dark" : "light")) {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem(store);
  } else {
    document.documentElement.dataset.theme = next;
    localStorage.setItem(store, next);
  }
  window.dispatchEvent(new Event(changed));
}

export function useTheme(): Theme {
  return useSyncExternalStore((listener) => {
    window.addEventListener(changed, listener);
    systemDark.addEventListener("change", listener);
    return () => {
      window.removeEventListener(changed, listener);
      systemDark.removeEventListener("change", listener);
    };
  }, currentTheme);
}

/** What a custom property comes to as a colour now; a canvas cannot read light-dark() itself. */
export function colorOf(token: string): string {
  const probe = document.createElement("i");
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}
