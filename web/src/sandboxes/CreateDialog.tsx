import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import type { DeviceClassView, ImageView, NodeView, Page, SandboxView, Viommu, Vmm } from "../contracts";
import { ApiError, get, send } from "../http/client";
import { keys } from "../http/keys";
import { Dialog } from "../page/Dialog";
import { ErrorNote } from "../page/ErrorNote";
import { navigate } from "../page/router";
import { useRights } from "../session/rights";
import { AcceleratorFields } from "./AcceleratorFields";
import { AdvancedFields } from "./AdvancedFields";
import { bodyOf, type Draft, emptyDraft, messagesFor, takesViommu, withVmm } from "./draft";
import { imageChoices } from "./images";
import { Field } from "./Field";
import { StormFields } from "./StormFields";
import { viommuWords, vmmWords } from "./words";

const viommus: readonly Viommu[] = ["Smmuv3", "Virtio", "None"];
const vmms: readonly Vmm[] = ["Qemu", "Kvmtool", "Simulated"];
const known = ["name", "image", "vcpus", "memoryMib", "accelerators", "viommu", "lease", "labels", "userData", "sshKeys", "vmm", "node", "faultStorm", "priority", "hugePages", "restart", "placement"];

export function CreateDialog({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const images = useQuery({ queryKey: keys.images, queryFn: ({ signal }) => get<Page<ImageView>>("/v1/images", signal) });
  const classes = useQuery({ queryKey: keys.deviceClasses, queryFn: ({ signal }) => get<Page<DeviceClassView>>("/v1/device-classes", signal) });
  const { seeService } = useRights();
  const nodes = useQuery({ queryKey: [...keys.nodes, "all"], queryFn: ({ signal }) => get<Page<NodeView>>("/v1/nodes?limit=1000", signal), enabled: seeService });
  const [typed, setDraft] = useState<Draft>(emptyDraft);
  const [local, setLocal] = useState<Record<string, string[]>>({});
  const choices = imageChoices(images.data?.items ?? []);
  const draft = { ...typed, image: typed.image || choices[0]?.name || "" };
  const change = <K extends keyof Draft>(field: K, value: Draft[K]) => setDraft((before) => ({ ...before, [field]: value }));

  const create = useMutation({
    mutationFn: (body: unknown) => send<SandboxView>("POST", "/v1/sandboxes", body),
    onSuccess: ({ data }) => {
      client.setQueryData(keys.sandbox(data.id), data);
      void client.invalidateQueries({ queryKey: keys.sandboxList });
      onClose();
      navigate(`/sandboxes/${data.id}`);
    },
  });
  const problem = create.error instanceof ApiError ? create.error : null;
  const errors = { ...problem?.errors, ...local };
  const wrong = (field: string) => messagesFor(errors, field);
  const unplaced = Object.keys(errors).filter((name) => !known.some((field) => messagesFor({ [name]: ["x"] }, field).length > 0));
  const nameTaken = problem?.status === 409 && /name/i.test(problem.code) ? [problem.message] : [];

  function submit(event: FormEvent) {
    event.preventDefault();
    const { body, errors: found } = bodyOf(draft);
    setLocal(found);
    if (Object.keys(found).length === 0) create.mutate(body);
  }

  return (
    <Dialog label="Create sandbox" onClose={onClose} testId="create-dialog">
      <form onSubmit={submit} noValidate data-testid="create-form">
        <header>
          <h2>Create sandbox</h2>
          <button type="button" className="plain compact" onClick={onClose} aria-label="Close">✕</button>
        </header>
        <div className="body stack">
          {create.error && (nameTaken.length === 0 && (Object.keys(problem?.errors ?? {}).length === 0 || unplaced.length > 0)) && (
            <div data-testid="create-error">
              <ErrorNote error={create.error} what="Not created." />
              {unplaced.map((name) => <p key={name} className="wrong">{name}: {errors[name]?.join(" ")}</p>)}
            </div>
          )}
          <div className="form-grid">
            <Field id="name" label="Name" className="half" wrong={[...wrong("name"), ...nameTaken]} hint="a–z, 0–9 and -, at most 63">
              {(aria) => <input {...aria} value={draft.name} onChange={(event) => change("name", event.target.value)} autoFocus autoComplete="off" spellCheck={false} />}
            </Field>
            <Field id="image" label="Image" className="half" wrong={wrong("image")} hint={images.data?.items.length === 0 ? "No image is registered, and no node has one yet" : undefined}>
              {(aria) => (
                <select {...aria} value={draft.image} onChange={(event) => change("image", event.target.value)}>
                  {choices.map((image) => <option key={image.name} value={image.name}>{image.label}</option>)}
                </select>
              )}
            </Field>
            <Field id="vcpus" label="vCPUs" wrong={wrong("vcpus")}>
              {(aria) => <input {...aria} inputMode="numeric" value={draft.vcpus} onChange={(event) => change("vcpus", event.target.value)} />}
            </Field>
            <Field id="memoryMib" label="Memory, MiB" wrong={wrong("memoryMib")}>
              {(aria) => <input {...aria} inputMode="numeric" value={draft.memoryMib} onChange={(event) => change("memoryMib", event.target.value)} />}
            </Field>
            <fieldset className="field half" aria-describedby={wrong("vmm").length > 0 ? "wrong-vmm" : undefined}>
              <legend>Run by</legend>
              <div className="choice" style={{ minHeight: "2.25rem", alignItems: "center" }}>
                {vmms.map((one) => (
                  <label key={one}><input type="radio" name="vmm" checked={draft.vmm === one} onChange={() => setDraft((before) => withVmm(before, one))} data-testid={`create-vmm-${one}`} />{vmmWords[one]}</label>
                ))}
              </div>
              {draft.vmm === "Kvmtool" && <span className="hint">No IOMMU and no agent in the guest</span>}
              {draft.vmm === "Simulated" && <span className="hint">No guest runs: a model of shared addresses, for classes of simulated devices</span>}
              {wrong("vmm").map((message) => <span key={message} className="wrong" id="wrong-vmm">{message}</span>)}
            </fieldset>
            {seeService && <Field id="node" label="Node" className="half" wrong={wrong("node")}>
              {(aria) => (
                <select {...aria} value={draft.node} onChange={(event) => change("node", event.target.value)}>
                  <option value="">any</option>
                  {nodes.data?.items.map((node) => <option key={node.id} value={node.name}>{node.name}{node.phase === "Ready" ? "" : ` (${node.phase})`}</option>)}
                </select>
              )}
            </Field>}
            <fieldset className="field half" aria-describedby={wrong("viommu").length > 0 ? "wrong-viommu" : undefined}>
              <legend>IOMMU in the guest</legend>
              <div className="choice" style={{ minHeight: "2.25rem", alignItems: "center" }}>
                {viommus.map((one) => (
                  <label key={one}><input type="radio" name="viommu" checked={draft.viommu === one} disabled={!takesViommu(draft.vmm, one)} onChange={() => change("viommu", one)} />{viommuWords[one]}</label>
                ))}
              </div>
              {wrong("viommu").map((message) => <span key={message} className="wrong" id="wrong-viommu">{message}</span>)}
            </fieldset>
            <AcceleratorFields chosen={draft.accelerators} classes={classes.data?.items ?? []} errors={errors} onChange={(next) => change("accelerators", next)} />
            <Field id="lease" label="Lease" className="half" wrong={wrong("lease")} hint="Empty: lives until it is deleted">
              {(aria) => (
                <div className="row" style={{ flexWrap: "nowrap" }}>
                  <input {...aria} inputMode="numeric" style={{ width: "5rem" }} value={draft.leaseAmount} onChange={(event) => change("leaseAmount", event.target.value)} />
                  <select aria-label="Unit of the lease" value={draft.leaseUnit} onChange={(event) => change("leaseUnit", event.target.value as Draft["leaseUnit"])}>
                    <option value="60">minutes</option><option value="3600">hours</option><option value="86400">days</option>
                  </select>
                  <select aria-label="At the end of the lease" value={draft.onExpiry} onChange={(event) => change("onExpiry", event.target.value as Draft["onExpiry"])}>
                    <option value="Delete">then delete</option><option value="Stop">then stop</option>
                  </select>
                </div>
              )}
            </Field>
            <Field id="labels" label="Labels" className="half" wrong={wrong("labels")} hint="key=value, one a line">
              {(aria) => <textarea {...aria} rows={2} value={draft.labels} onChange={(event) => change("labels", event.target.value)} spellCheck={false} />}
            </Field>
            <Field id="userData" label="User data" className="full" wrong={wrong("userData")} hint={draft.vmm === "Simulated" ? 'What is simulated, as JSON: {"workload": "hotSet", "seed": 7}; empty: streaming' : "A text that starts with #! is run once at the first boot; at most 16 KiB"}>
              {(aria) => <textarea {...aria} rows={3} value={draft.userData} onChange={(event) => change("userData", event.target.value)} spellCheck={false} />}
            </Field>
            <Field id="sshKeys" label="SSH public keys" className="full" wrong={wrong("sshKeys")} hint="One a line">
              {(aria) => <textarea {...aria} rows={2} value={draft.sshKeys} onChange={(event) => change("sshKeys", event.target.value)} spellCheck={false} />}
            </Field>
            <AdvancedFields draft={draft} errors={errors} onChange={(advanced) => setDraft((before) => ({ ...before, ...advanced }))} />
            <StormFields draft={draft} wrong={wrong("faultStorm")} onChange={(storm) => setDraft((before) => ({ ...before, ...storm }))} />
          </div>
        </div>
        <footer>
          <button type="button" onClick={onClose}>Cancel</button>
          <button className="primary" disabled={create.isPending} data-testid="create-submit">{create.isPending ? "Creating…" : "Create sandbox"}</button>
        </footer>
      </form>
    </Dialog>
  );
}
