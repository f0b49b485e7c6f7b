using Contracts;
using Worker.Hardware.Verdicts;

namespace Worker.Hardware;

// Pure: how far shared addresses work for a device that QEMU emulates, as far as the node itself can know.
// The guest's probe completes the chain (Vms/SvaCondition.cs).
public static class DeviceVerdict
{
    /// <summary>PCI identity of a kind, four hexadecimal digits each. No vendor has 0000: what is simulated is nobody's device.</summary>
    public static (string VendorId, string DeviceId) IdentityOf(string kind) => kind switch { "edu" => ("1234", "11e8"), EmulatedDeviceOptions.Simulated => ("0000", "0001"), _ => ("1b36", "0010") };

    /// <summary>Of a device that exists in the simulated machine only: what is simulated there.</summary>
    public static Verdict Simulated() => new(VerdictReasons.SimulatedDevice.Class, VerdictReasons.SimulatedDevice.Code, VerdictReasons.SimulatedDevice.Message, Origin.Simulated,
    [
        SvaReasons.DeviceSharesAddresses.ToLink("It is simulated, with PRI or stall."),
        SvaReasons.AloneBehindRootPort.ToLink(),
        SvaReasons.SmmuNests.ToLink("It is simulated, with a PRI queue and stall."),
        SvaReasons.KernelNotInvolved.ToLink(),
        SvaReasons.SimulatedMachine.ToLink(),
        SvaReasons.GuestUnprobed.ToLink(),
    ]);

    // vmmHasDevice: Null when the VMM could not be asked.
    public static Verdict Emulated(string kind, bool? vmmHasDevice)
    {
        var links = new VerdictLink[]
        {
            kind == "edu"
                ? SvaReasons.NoPasid.ToLink("QEMU's edu model is a conventional PCI function: it has neither ATS nor PRI.")
                : SvaReasons.CapabilitiesNotRead.ToLink(),
            SvaReasons.AloneBehindRootPort.ToLink(),
            SvaReasons.NoSubstreams.ToLink("It is QEMU's emulated SMMUv3, which offers neither ATS nor PRI nor stall."),
            SvaReasons.KernelNotInvolved.ToLink(),
            vmmHasDevice switch
            {
                true => SvaReasons.ModelPresent.ToLink($"It is {kind}."),
                false => SvaReasons.ModelMissing.ToLink($"It is {kind}."),
                null => SvaReasons.VmmNotProbed.ToLink(),
            },
            SvaReasons.GuestUnprobed.ToLink(),
        };
        return new Verdict(VerdictReasons.EmulatedDevice.Class, VerdictReasons.EmulatedDevice.Code, VerdictReasons.EmulatedDevice.Message, Origin.Emulated, links);
    }
}
