using Worker.Hardware.Pci;

namespace Worker.Hardware.Assignment;

/// <summary><c>OutOfReach</c>: nothing failed, but there is something that the host cannot get at.</summary>
public enum HostOutcome { Done, Refused, TimedOut, OutOfReach }

/// <summary>What became of one change of the host. <c>Said</c>: the host's own words about a refusal.</summary>
public readonly record struct HostAnswer(HostOutcome Outcome, string Said)
{
    public static readonly HostAnswer Done = new(HostOutcome.Done, "");
    public bool IsDone => Outcome == HostOutcome.Done;
}

/// <summary>Everything by which a worker changes its host's PCI functions: the kernel, or a test's stand-in for it.</summary>
public interface IHostControl
{
    /// <summary>Writes a text to a file of sysfs, relative to the host's root. Returns at the limit even where the kernel blocks: the write then goes on without us.</summary>
    Task<HostAnswer> WriteAsync(string path, string text, TimeSpan limit, CancellationToken ct);

    /// <summary>What iommufd tells of the SMMU in front of a function on VFIO; null where it cannot be asked. Opens the function, which resets it.</summary>
    SmmuHardware? AskSmmu(PciAddress address);

    /// <summary>Done when each disk of a controller that is on the host's nvme driver could be opened exclusively: nothing has one for itself, neither a file system nor
    /// a pool or RAID that shows neither mount nor holder.</summary>
    Task<HostAnswer> TryDisksAsync(PciAddress address, TimeSpan limit, CancellationToken ct);

    /// <summary>Erases every namespace of a controller that is on the host's nvme driver, and reads back that nothing is left. Out of reach: namespaces that are not attached.</summary>
    Task<HostAnswer> EraseNamespacesAsync(PciAddress address, CancellationToken ct);

    /// <summary>Gives a device node to a VM's user alone, or back to the worker's (null).</summary>
    HostAnswer Own(string deviceNode, uint? user);
}
