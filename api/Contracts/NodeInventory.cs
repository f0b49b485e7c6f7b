namespace Contracts;

/// <summary>What of a node's hardware decides how far Shared Virtual Addressing works, read when its worker started.
/// A capability is true, false, or null when it could not be read.</summary>
public sealed record NodeInventory(
    DateTimeOffset ReadAt, IReadOnlyList<CpuKind> Cpus, IReadOnlyList<NumaFacts> Numa, IReadOnlyList<SmmuFacts> Smmus,
    IReadOnlyList<UacceFacts> Uacce, IReadOnlyList<FunctionFacts> Functions);

/// <summary>Cores of one kind, by MIDR_EL1. <c>Name</c>: null for a part that the worker does not know.</summary>
public sealed record CpuKind(string? Name, int Implementer, int Part, int Count);

/// <summary>One NUMA node; <c>Cpus</c> as the kernel writes lists.</summary>
public sealed record NumaFacts(int Number, string? Cpus, long? MemoryMib, IReadOnlyList<HugePageFacts> HugePages);

/// <summary>Huge pages of one size, in all and free.</summary>
public sealed record HugePageFacts(int SizeKib, long Total, long Free);

/// <summary>One IOMMU. <c>Features</c> are the arm-smmu-v3 driver's words for what it uses; null when its line in the kernel's log could not be read.</summary>
public sealed record SmmuFacts(string Name, bool IsSmmuV3, int Clients, IReadOnlyList<string>? Features, int? OutputBits);

/// <summary>An accelerator of the host's uacce framework.</summary>
public sealed record UacceFacts(string Name, string? Algorithms, bool? SharesAddresses, long? AvailableInstances, string? ParentFunction);

/// <summary>One PCI function that is no bridge. <c>VendorId</c>, <c>DeviceId</c> and <c>ClassCode</c> are hexadecimal.
/// <c>ResetMethods</c>: best first; null when the kernel does not say.</summary>
public sealed record FunctionFacts(
    string Address, string VendorId, string DeviceId, string ClassCode, string? Driver, int? IommuGroup, string? Iommu, int? NumaNode, string? PhysicalFunction,
    IReadOnlyList<string>? ResetMethods, FunctionCapabilities Capabilities, Verdict Verdict);

/// <summary>Capabilities of one function itself: a virtual function has ATS, its physical function PASID and PRI.</summary>
public sealed record FunctionCapabilities(bool? Ats, bool? Pri, bool? Pasid, int? PasidBits, bool? Acs, bool? Sriov, bool? Aer, bool? Flr);

/// <summary>Whether a node can run sandboxes, what keeps it from it or from SVA, and everything it was judged by.
/// <c>Inventory</c>: null until its worker has told it.</summary>
public sealed record NodeReadinessView(Guid NodeId, string NodeName, NodePhase Phase, bool CanRunSandboxes, IReadOnlyList<Failure> Problems, NodeInventory? Inventory);
