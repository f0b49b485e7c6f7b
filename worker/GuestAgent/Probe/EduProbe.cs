using Contracts;
using System.Globalization;

namespace GuestAgent.Probe;

/// <summary>What one run saw so far; kept outside of the run so that a failure half way still tells what was proved.</summary>
internal sealed class Observed
{
    public string? IovaEqualsVa { get; set; }
    public bool? DeviceReadMatched { get; set; }
    public bool? DeviceWroteMatched { get; set; }
    public string? UnmappedAccess { get; set; }
}

/// <summary>Shares addresses with an edu device: three pages, of which two are mapped at their own virtual addresses.
/// The device reads the first, writes what it read into the second, and is then sent to the third, which is not mapped.</summary>
internal static unsafe class EduProbe
{
    private const int Page = 4096, Bytes = EduDevice.TransferBytes, UnmappedBytes = 4;

    public static void Run(PciFunction function, Observed observed)
    {
        var binding = new DriverBinding(function);
        try
        {
            binding.Take();
            // Before kernel 6.15 a function joins its IOMMU group when a driver is bound, not earlier.
            Share(function, SysfsPci.IommuGroup(function) ?? throw NoGroup(), observed);
        }
        catch (ProbeException first)
        {
            var isolated = first.Reason != ProbeReasons.BindFailed || SysfsPci.IommuGroup(function) is not null;
            var cause = isolated ? first : NoGroup();
            throw new ProbeException(cause.Reason, cause.Message + TryGiveBack(binding));
        }
        binding.GiveBack();
    }

    private static ProbeException NoGroup() =>
        new(ProbeReasons.NoIommuGroup, "the function has no IOMMU group: nothing translates its addresses");

    private static string TryGiveBack(DriverBinding binding)
    {
        try
        {
            binding.GiveBack();
            return "";
        }
        catch (ProbeException second)
        {
            return $"; and the function could not be given back: {second.Message}";
        }
    }

    private static void Share(PciFunction function, string group, Observed observed)
    {
        if (SysfsPci.ReservedRegions(group) is { } regions && ReservedRegions.FirstDirect(regions) is { } direct)
            throw new ProbeException(ProbeReasons.GuestDirectRegion, $"the guest's firmware tables demand that {direct} is mapped 1:1 for the function, so the guest's kernel gives it to no user space");
        const int length = 3 * Page;
        var memory = LibC.Map(0, length, LibC.ProtectRead | LibC.ProtectWrite, LibC.MapPrivate | LibC.MapAnonymous, -1, 0);
        if (memory == -1)
            throw ProbeException.FromErrno(ProbeReasons.BufferFailed, "mmap of the buffer");
        try
        {
            // .NET's own generator needs OpenSSL, which the image does not have.
            using (var random = File.OpenRead("/dev/urandom"))
                random.ReadExactly(new Span<byte>((void*)memory, length));
            using var vfio = new VfioGroup(group);
            using var device = new EduDevice(vfio.OpenDevice(function.Address));
            vfio.Map(memory, 2 * Page);
            observed.IovaEqualsVa = "0x" + memory.ToString("x", CultureInfo.InvariantCulture);
            Copy(device, memory, observed);
            TouchUnmapped(device, memory + 2 * Page, observed);
            vfio.Unmap(memory, 2 * Page);
        }
        finally
        {
            LibC.Unmap(memory, length);
        }
    }

    private static void Copy(EduDevice device, nint memory, Observed observed)
    {
        var source = new Span<byte>((void*)memory, Bytes);
        var target = new Span<byte>((void*)(memory + Page), Bytes);
        var sent = source.ToArray();
        var before = target.ToArray();
        device.ReadFrom(memory, Bytes);
        device.WriteTo(memory + Page, Bytes);
        // The device's buffer cannot be seen directly: what it read shows in what it writes.
        if (target.SequenceEqual(before))
        {
            observed.DeviceWroteMatched = false;
            throw new ProbeException(ProbeReasons.DeviceWriteMismatch, "the device's write did not reach the buffer at its virtual address");
        }
        observed.DeviceReadMatched = target.SequenceEqual(sent);
        if (observed.DeviceReadMatched is false)
            throw new ProbeException(ProbeReasons.DeviceReadMismatch, "the device did not read the bytes that lie at the buffer's virtual address");
        observed.DeviceWroteMatched = true;
    }

    private static void TouchUnmapped(EduDevice device, nint address, Observed observed)
    {
        var page = new Span<byte>((void*)address, Page);
        var before = page.ToArray();
        // One SMMU event is recorded for each 4 bytes.
        device.WriteTo(address, UnmappedBytes);
        observed.UnmappedAccess = "sent";
        if (!page.SequenceEqual(before))
            throw new ProbeException(ProbeReasons.UnmappedAccessReachedMemory, "the device wrote to an address that nobody had mapped");
    }
}
