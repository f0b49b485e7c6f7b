import type { ReactNode } from "react";

interface Aria {
  id: string;
  "aria-invalid": boolean;
  "aria-describedby": string | undefined;
  "data-testid": string;
}

interface FieldProps {
  id: string;
  label: string;
  hint?: string | undefined;
  wrong: readonly string[];
  className?: string;
  children: (aria: Aria) => ReactNode;
}

/** A label, its control, a hint, and what the API said about it. */
export function Field({ id, label, hint, wrong, className, children }: FieldProps) {
  const described = [hint && `hint-${id}`, wrong.length > 0 && `wrong-${id}`].filter(Boolean).join(" ");
  return (
    <div className={`field ${className ?? ""}`}>
      <label htmlFor={`field-${id}`}>{label}</label>
      {children({ id: `field-${id}`, "aria-invalid": wrong.length > 0, "aria-describedby": described || undefined, "data-testid": `create-${id}` })}
      {hint && <span className="hint" id={`hint-${id}`}>{hint}</span>}
      {wrong.length > 0 && <span className="wrong" id={`wrong-${id}`} role="alert" data-testid={`error-${id}`}>{wrong.join(" ")}</span>}
    </div>
  );
}
