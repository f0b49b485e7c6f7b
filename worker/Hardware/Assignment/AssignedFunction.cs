using Worker.Hardware.Pci;

namespace Worker.Hardware.Assignment;

/// <summary>How a VMM reaches a function. <c>Iommufd</c>: /dev/vfio/devices/vfioN with /dev/iommu; <c>Container</c>: /dev/vfio/GROUP with /dev/vfio/vfio (type 1).</summary>
public enum VfioAccess { Iommufd, Container }

/// <summary>A function of the host, ready for one guest: reset, clean, bound, its <c>DeviceNode</c> the VM's user's. <c>Smmu</c>: the instance in front of it;
/// <c>Translation</c>: what iommufd told of that, null where it could not be asked; <c>Nests</c>: whether its driver nests stages; <c>Ats</c>: of function and SMMU together.</summary>
public sealed record AssignedFunction(
    PciAddress Address, VfioAccess Access, string DeviceNode, string? Smmu, int? NumaNode, SmmuHardware? Translation, bool Nests, bool Ats);

/// <summary>A device could not be made ready for a tenant. <c>Quarantines</c>: it is not handed out again until somebody has looked at it.</summary>
public sealed class DeviceException(DeviceProblem problem, bool quarantines) : Exception(problem.Message)
{
    public DeviceProblem Problem { get; } = problem;
    public bool Quarantines { get; } = quarantines;
}
