using Contracts;

namespace Worker.Hardware.Verdicts;

/// <summary>What a verdict says where no single link of the chain says it.</summary>
public sealed record VerdictReason(VerdictClass Class, string Code, string Message);

// The one table of these; docs/neoverse-node.md is written from it. Any other verdict has the code of the link that breaks it, or of the guest's probe.
public static class VerdictReasons
{
    public static readonly VerdictReason DeviceResumesFaults = new(VerdictClass.GuestSvaDeviceFaults, "DeviceResumesFaults", "A guest shares addresses with the device, and the device's own driver resumes its faults.");
    public static readonly VerdictReason MemoryMustBePresent = new(VerdictClass.GuestSvaPrefaultOnly, "MemoryMustBePresent", "A guest shares addresses of memory that is present; a fault of the device cannot be resumed.");
    public static readonly VerdictReason EmulatedDevice = new(VerdictClass.PassthroughOnly, "EmulatedDevice", "An emulated accelerator behind an emulated SMMU: shared addresses work by mapping ahead, without PASID.");
    public static readonly VerdictReason SimulatedDevice = new(VerdictClass.GuestSvaDeviceFaults, "SimulatedDevice", "A simulated accelerator: a simulated guest shares addresses with it and serves its page faults. It says nothing of any hardware.");

    public static readonly IReadOnlyList<VerdictReason> All = [DeviceResumesFaults, MemoryMustBePresent, EmulatedDevice, SimulatedDevice];
}
