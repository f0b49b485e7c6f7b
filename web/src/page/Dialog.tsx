import { type ReactNode, useEffect, useRef } from "react";

interface DialogProps {
  label: string;
  narrow?: boolean;
  onClose: () => void;
  children: ReactNode;
  testId?: string;
}

/** The browser's own modal dialog: it keeps the focus inside and gives it back. */
export function Dialog({ label, narrow, onClose, children, testId }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      aria-label={label}
      className={narrow ? "narrow" : undefined}
      data-testid={testId}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      {children}
    </dialog>
  );
}

interface AskProps {
  title: string;
  children: ReactNode;
  action: string;
  danger?: boolean;
  onYes: () => void;
  onNo: () => void;
}

export function Ask({ title, children, action, danger, onYes, onNo }: AskProps) {
  return (
    <Dialog label={title} narrow onClose={onNo} testId="confirm-dialog">
      <div className="ask">
        <header><h2>{title}</h2></header>
        <div className="body">{children}</div>
        <footer>
          <button type="button" onClick={onNo} data-testid="confirm-no" autoFocus>Keep as it is</button>
          <button type="button" className={danger ? "danger" : "primary"} onClick={onYes} data-testid="confirm-yes">{action}</button>
        </footer>
      </div>
    </Dialog>
  );
}
