using System.Diagnostics;
using Contracts;

namespace GuestAgent.Probe;

// Probes every assigned PCI function of the guest, one after another.
// Guarantees: one result for each function, whatever the others do; a failure carries a stable reason and the step's errno;
//   the function is given back to its driver.
// Assumes: runs as root in the guest, once for each start of the agent, after Ready was sent.
// On a crash: the kernel closes the VFIO descriptors, which unmaps and resets the function; the next start probes again.
internal static class SharedAddressProbe
{
    public static AgentProbe Run(string root)
    {
        var functions = SysfsPci.Functions(root).Where(function => !function.IsPlatform).ToList();
        var needsVfio = functions.Any(IsEdu);
        var modules = needsVfio ? KernelModules.Load() : null;
        return new([.. functions.Select(function => Probe(function, modules))]);
    }

    private static bool IsEdu(PciFunction function) => function is { VendorId: EduDevice.VendorId, DeviceId: EduDevice.DeviceId };

    private static ProbeResult Probe(PciFunction function, string? modulesProblem)
    {
        var started = Stopwatch.GetTimestamp();
        var capabilities = SysfsPci.Capabilities(function);
        var observed = new Observed();
        var (outcome, reason, message) = IsEdu(function)
            ? Judge(function, observed, modulesProblem)
            : (ProbeOutcome.Skipped, ProbeReasons.NoProbeForDevice, $"the agent cannot drive the DMA engine of {function.VendorId}:{function.DeviceId}");
        return new(
            function.Address, function.VendorId, function.DeviceId, outcome, reason, message,
            observed.IovaEqualsVa, observed.DeviceReadMatched, observed.DeviceWroteMatched, observed.UnmappedAccess,
            capabilities.Pasid, capabilities.Ats, capabilities.Pri, SysfsPci.IommuDriver(function), (long)Stopwatch.GetElapsedTime(started).TotalMicroseconds);
    }

    private static (ProbeOutcome Outcome, string Reason, string Message) Judge(PciFunction function, Observed observed, string? modulesProblem)
    {
        try
        {
            EduProbe.Run(function, observed);
            return (ProbeOutcome.Passed, ProbeReasons.SharedAddressesMatched,
                $"the device read and wrote {EduDevice.TransferBytes} bytes at the process's own addresses, and its access to an unmapped one changed nothing");
        }
        catch (ProbeException error)
        {
            var message = modulesProblem is null ? error.Message : $"{error.Message}; {modulesProblem}";
            return (ProbeOutcome.Failed, error.Reason, message);
        }
    }
}
