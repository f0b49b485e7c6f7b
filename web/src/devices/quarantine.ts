import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { DeviceView } from "../contracts";
import { send } from "../http/client";
import { keys } from "../http/keys";
import { tellFailure } from "../page/Toasts";

export const maxMessage = 500;

/** What can be done with a device now; the API decides in the end. */
export function quarantineActionsFor(device: Pick<DeviceView, "quarantine">): { quarantine: boolean; release: boolean } {
  return { quarantine: device.quarantine === null, release: device.quarantine !== null };
}

/** What a quarantine means for now, where the phase does not say it. */
export function quarantineNote(device: Pick<DeviceView, "quarantine" | "phase">): string | null {
  return device.quarantine !== null && device.phase !== "Quarantined" ? "Handed out no more once its tenancy is over." : null;
}

export function useQuarantine(device: Pick<DeviceView, "id" | "address">) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (wish: { verb: "quarantine"; message: string } | { verb: "release" }) =>
      (await send<DeviceView>("POST", `/v1/devices/${device.id}/${wish.verb}`, wish.verb === "release" ? undefined : wish.message.trim() ? { message: wish.message.trim() } : {})).data,
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: keys.devices });
      void client.invalidateQueries({ queryKey: keys.deviceClasses });
    },
    onError: (error, wish) => tellFailure(`Not ${wish.verb === "release" ? "released" : "quarantined"}: ${device.address}`, error),
  });
}
