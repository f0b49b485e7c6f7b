using System.Text.Json.Serialization;

namespace Contracts;

/// <summary>Where a sandbox is in its life, as the control plane last stored it.</summary>
[JsonConverter(typeof(NamedEnum<Phase>))]
public enum Phase { Pending, Scheduled, Preparing, Booting, Running, Stopping, Stopped, Failed, Lost, Deleting }

/// <summary>What the user asked for last.</summary>
[JsonConverter(typeof(NamedEnum<DesiredState>))]
public enum DesiredState { Running, Stopped, Deleted }

[JsonConverter(typeof(NamedEnum<ConditionStatus>))]
public enum ConditionStatus { True, False, Unknown }

[JsonConverter(typeof(NamedEnum<ConditionType>))]
public enum ConditionType { Placed, DevicesReady, VmmRunning, GuestReady, SvaReady, FaultStorm }

/// <summary>One statement about a sandbox. <c>Reason</c> is a stable PascalCase code, <c>Message</c> a sentence for people.</summary>
public sealed record Condition(ConditionType Type, ConditionStatus Status, string Reason, string Message, DateTimeOffset Since);

/// <summary>Why something a user asked for did not happen: a stable code, a sentence, and what to do about it.</summary>
public sealed record Failure(string Reason, string Message, string Remedy, DateTimeOffset At);

/// <summary>Where a measurement or a device comes from. What is emulated or simulated is never shown as hardware.</summary>
[JsonConverter(typeof(NamedEnum<Origin>))]
public enum Origin { Hardware, Emulated, Simulated }

/// <summary>The IOMMU that the guest sees.
/// <c>Smmuv3</c>: a virtual SMMUv3; <c>Virtio</c>: virtio-iommu (isolation only, its protocol has no PASID and no page requests);
/// <c>None</c>: the guest has no IOMMU.</summary>
[JsonConverter(typeof(NamedEnum<Viommu>))]
public enum Viommu { Smmuv3, Virtio, None }

/// <summary>Where a node is. <c>Cordoned</c>: it takes nothing new; <c>Draining</c>: nor does it keep what it has; <c>Maintenance</c>: it has nothing, and its silence is expected.</summary>
[JsonConverter(typeof(NamedEnum<NodePhase>))]
public enum NodePhase { Joining, Ready, Cordoned, Draining, Unreachable, Maintenance }

[JsonConverter(typeof(NamedEnum<DevicePhase>))]
public enum DevicePhase { Available, Assigned, Cleaning, Quarantined }

/// <summary>How a guest's instructions run on a node: hardware virtualization, or QEMU's translator; <c>None</c>: not at all, for the node is simulated.</summary>
[JsonConverter(typeof(NamedEnum<Acceleration>))]
public enum Acceleration { Kvm, Tcg, None }

/// <summary>The program that runs a guest. <c>Qemu</c>; <c>Kvmtool</c> (<c>lkvm</c>): arm64 with KVM only, no IOMMU and no agent in the guest;
/// <c>Simulated</c>: a model of a guest with shared addresses, its IOMMU and its device, that runs no program; for devices of origin simulated only.</summary>
[JsonConverter(typeof(NamedEnum<Vmm>))]
public enum Vmm { Qemu, Kvmtool, Simulated }

/// <summary>The pages that a guest's memory lies on. <c>None</c>: ordinary ones; the others: huge ones, from the pools that the node's kernel has set aside.</summary>
[JsonConverter(typeof(NamedEnum<HugePageSize>))]
public enum HugePageSize { None, Size2Mi, Size1Gi }

public static class HugePageSizes
{
    /// <summary>Mebibytes of one page; 0 for ordinary ones.</summary>
    public static int Mib(this HugePageSize size) => size switch { HugePageSize.Size2Mi => 2, HugePageSize.Size1Gi => 1024, _ => 0 };

    public static int Kib(this HugePageSize size) => size.Mib() << 10;

    /// <summary>How many of them a guest's memory takes.</summary>
    public static long PagesOf(this HugePageSize size, long memoryMib) => size == HugePageSize.None ? 0 : memoryMib / size.Mib();

    public static string Words(this HugePageSize size) => size switch { HugePageSize.Size2Mi => "2 MiB", HugePageSize.Size1Gi => "1 GiB", _ => "ordinary" };
}

/// <summary>How far Shared Virtual Addressing works for a device. <c>GuestSvaDeviceFaults</c>: a guest shares addresses and the device's own driver
/// resumes its faults; <c>GuestSvaPrefaultOnly</c>: it shares addresses of memory that is present; <c>HostSvaStall</c>: only processes of the host do, by stall;
/// <c>PassthroughOnly</c>: the device can be given to a guest, without shared addresses; <c>NotAssignable</c>: not even that; <c>Unknown</c>: a link could not be read.</summary>
[JsonConverter(typeof(NamedEnum<VerdictClass>))]
public enum VerdictClass { GuestSvaDeviceFaults, GuestSvaPrefaultOnly, HostSvaStall, PassthroughOnly, NotAssignable, Unknown }

/// <summary>The links of the SVA chain, in the order in which they are judged.</summary>
[JsonConverter(typeof(NamedEnum<VerdictLinkName>))]
public enum VerdictLinkName { Device, IommuGroup, Smmu, Kernel, Vmm, Guest }

[JsonConverter(typeof(NamedEnum<LinkStatus>))]
public enum LinkStatus { Pass, Fail, Unknown }

/// <summary>One link of the chain. <c>Remedy</c> is null only when the link passes.</summary>
public sealed record VerdictLink(VerdictLinkName Link, LinkStatus Status, string Reason, string Message, string? Remedy);

/// <summary>The verdict of a device in one sandbox or on its node. A capability that could not be read is Unknown, never absent.</summary>
public sealed record Verdict(VerdictClass Class, string Reason, string Message, Origin Origin, IReadOnlyList<VerdictLink> Links);
