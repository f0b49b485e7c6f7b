using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Worker.Hardware.Pci;

namespace Worker.Hardware.Assignment;

// Erases what a tenant has stored: Format NVM with user data erase (NVM Express Base Specification 2.0, 5.14) of every active namespace, or zeros
// written over it where the controller cannot format, then reads samples of each back. A namespace that a tenant has detached is no disk, and one
// that it has deleted is nothing at all: then it is refused, for what such a controller holds cannot be seen.
// Assumes: the controller is on the host's nvme driver and nothing is mounted (AssignmentRules); what has a disk open exclusively is refused here. What a tenant left outside of namespaces (log pages,
// saved features, firmware slots) is not erased. On a crash midway: the device is not known to be clean, so it is erased again before anybody gets it.
internal sealed class NvmeErasure(HostTree tree, TimeProvider time)
{
    private static readonly TimeSpan AppearLimit = TimeSpan.FromSeconds(30), LookPeriod = TimeSpan.FromMilliseconds(50);

    public async Task<HostAnswer> EraseAsync(PciAddress address, CancellationToken ct)
    {
        var began = time.GetTimestamp();
        string? controller;
        IReadOnlyList<string> disks = [];
        try
        {
            // The controller comes up by itself after its driver was bound, and its disks one after another after that.
            // A disk has a name before it has a node, and whoever only looks at it lets it go again.
            var tried = HostAnswer.Done;
            while ((controller = LiveController(address)) is null || (disks = Disks(address, controller)).Count < CountNamespaces(controller) || !(tried = TryDisks(address)).IsDone)
            {
                if (time.GetElapsedTime(began) > AppearLimit)
                    return !tried.IsDone ? tried : new HostAnswer(HostOutcome.TimedOut, controller is null ? "its controller did not become live" : "its namespaces did not appear");
                await Task.Delay(LookPeriod, time, ct);
            }
            // The commands block for as long as the kernel lets them: minutes at most, but not on a thread of the pool.
            return await Task.Factory.StartNew(() => Erase(controller, disks), ct, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            return new HostAnswer(HostOutcome.Refused, problem.Message);
        }
    }

    /// <summary>Null when every namespace that there is can be erased, and there is one.</summary>
    internal static string? OutOfReach(IReadOnlyList<uint> active, IReadOnlyList<uint> allocated)
    {
        var hidden = allocated.Except(active).ToList();
        return hidden.Count > 0 ? $"Not attached: {string.Join(", ", hidden)}." : active.Count == 0 ? "There is none." : null;
    }

    /// <summary>Whatever state its controller is in: a disk that is in use may wait for it to come back.</summary>
    public HostAnswer TryDisks(PciAddress address)
    {
        foreach (var controller in tree.Names($"{PciScan.Directory}/{address}/nvme").Where(IsController))
            foreach (var disk in Disks(address, controller))
                if (BlockDisk.InUse(Path.Combine(tree.Root, "dev", disk)) is { } why)
                    return new HostAnswer(HostOutcome.Refused, why);
        return HostAnswer.Done;
    }

    private string? LiveController(PciAddress address) => tree.Names($"{PciScan.Directory}/{address}/nvme")
        .FirstOrDefault(name => IsController(name) && tree.Text($"{PciScan.Directory}/{address}/nvme/{name}/state") == "live");

    private static int CountNamespaces(string controller)
    {
        using var device = NvmeAdmin.Open($"/dev/{controller}");
        return device.ActiveNamespaces().Count;
    }

    private static HostAnswer Erase(string controller, IReadOnlyList<string> disks)
    {
        // Whatever has a disk for itself (a file system, a pool, a RAID) keeps this from being opened, and so from being formatted.
        foreach (var disk in disks)
            BlockDisk.Open($"/dev/{disk}").Dispose();
        using var device = NvmeAdmin.Open($"/dev/{controller}");
        var (canFormat, managesNamespaces) = device.OptionalCommands();
        var active = device.ActiveNamespaces();
        if (OutOfReach(active, managesNamespaces ? device.AllocatedNamespaces() : active) is { } hidden)
            return new HostAnswer(HostOutcome.OutOfReach, hidden);
        foreach (var number in canFormat ? active : [])
            device.Format(number, device.BlockFormat(number));
        foreach (var disk in disks)
        {
            using var open = BlockDisk.Open($"/dev/{disk}");
            if (!canFormat)
                open.WriteZeros();
            if (open.FirstRemains() is { } offset)
                return new HostAnswer(HostOutcome.Refused, $"{disk} still has data at byte {offset}");
        }
        return HostAnswer.Done;
    }

    /// <summary>nvme0n1, which with several paths appears as nvme0c1n1 below its controller.</summary>
    private List<string> Disks(PciAddress address, string controller)
    {
        var disks = new List<string>();
        foreach (var name in tree.Names($"{PciScan.Directory}/{address}/nvme/{controller}"))
        {
            if (!name.StartsWith("nvme", StringComparison.Ordinal) || name.LastIndexOf('n') is not (> 4 and var at) || !int.TryParse(name.AsSpan(at + 1), NumberStyles.None, CultureInfo.InvariantCulture, out _))
                continue;
            var head = name.AsSpan(4, at - 4);
            disks.Add($"nvme{(head.IndexOf('c') is > 0 and var path ? head[..path] : head)}{name[at..]}");
        }
        return disks;
    }

    private static bool IsController(string name) =>
        name.StartsWith("nvme", StringComparison.Ordinal) && int.TryParse(name.AsSpan(4), NumberStyles.None, CultureInfo.InvariantCulture, out _);
}

/// <summary>Admin commands through the kernel's pass-through (include/uapi/linux/nvme_ioctl.h).</summary>
internal sealed unsafe class NvmeAdmin : IDisposable
{
    private const nuint AdminCommand = 0xC0484E41;
    private const byte Identify = 0x06, FormatNvm = 0x80;
    private const int PageBytes = 4096, ReadOnly = 0x80000;
    private const uint ControllerData = 1, NamespaceData = 0, ActiveList = 2, AllocatedList = 0x10, Minute = 60_000;
    private readonly int _descriptor;

    [StructLayout(LayoutKind.Sequential)]
    private struct Command
    {
        public byte Opcode, Flags;
        public ushort Reserved;
        public uint Namespace, Word2, Word3;
        public ulong Metadata, Address;
        public uint MetadataBytes, DataBytes, Word10, Word11, Word12, Word13, Word14, Word15, TimeoutMilliseconds, Result;
    }

    private NvmeAdmin(int descriptor) => _descriptor = descriptor;

    public static NvmeAdmin Open(string path)
    {
        var descriptor = LibC.Open(path, ReadOnly);
        return descriptor >= 0 ? new NvmeAdmin(descriptor) : throw new IOException($"{path} cannot be opened: errno {Marshal.GetLastPInvokeError()}");
    }

    /// <summary>OACS bits 1 and 3 of the controller's data.</summary>
    public (bool CanFormat, bool ManagesNamespaces) OptionalCommands()
    {
        const int optionalCommands = 256, format = 1 << 1, management = 1 << 3;
        var offered = BinaryPrimitives.ReadUInt16LittleEndian(Ask(0, ControllerData).AsSpan(optionalCommands));
        return ((offered & format) != 0, (offered & management) != 0);
    }

    /// <summary>Those attached to this controller.</summary>
    public IReadOnlyList<uint> ActiveNamespaces() => Namespaces(ActiveList);

    /// <summary>All that the controller's subsystem has, attached to it or not.</summary>
    public IReadOnlyList<uint> AllocatedNamespaces() => Namespaces(AllocatedList);

    /// <summary>A list begins after the number that is asked for, and tells as many as a page holds.</summary>
    private List<uint> Namespaces(uint what)
    {
        var all = new List<uint>();
        for (var after = 0u; ; after = all[^1])
        {
            var list = MemoryMarshal.Cast<byte, uint>(Ask(after, what));
            var end = list.IndexOf(0u);
            all.AddRange(list[..(end < 0 ? list.Length : end)]);
            // A controller whose list does not go on upwards would never end.
            if (end >= 0 || all[^1] <= after)
                return all;
        }
    }

    /// <summary>The namespace's present LBA format (FLBAS): it keeps it.</summary>
    public uint BlockFormat(uint number)
    {
        const int formattedSize = 26;
        var value = (uint)Ask(number, NamespaceData)[formattedSize];
        return value & 0xF | (value & 0x60) << 7;
    }

    public void Format(uint number, uint blockFormat)
    {
        const uint userDataErase = 1 << 9;
        var command = new Command { Opcode = FormatNvm, Namespace = number, Word10 = blockFormat | userDataErase, TimeoutMilliseconds = 10 * Minute };
        Send(ref command, "Format NVM");
    }

    public void Dispose() => _ = LibC.Close(_descriptor);

    private byte[] Ask(uint number, uint what)
    {
        var data = new byte[PageBytes];
        fixed (byte* start = data)
        {
            var command = new Command { Opcode = Identify, Namespace = number, Address = (ulong)start, DataBytes = PageBytes, Word10 = what, TimeoutMilliseconds = Minute };
            Send(ref command, "Identify");
        }
        return data;
    }

    private void Send(ref Command command, string name)
    {
        fixed (Command* sent = &command)
        {
            var status = LibC.Control(_descriptor, AdminCommand, (nint)sent);
            if (status != 0)
                throw new IOException(status > 0 ? $"{name} failed with NVMe status 0x{status:x}" : $"{name} failed: errno {Marshal.GetLastPInvokeError()}");
        }
    }
}

/// <summary>A block device, by the kernel's own commands (include/uapi/linux/fs.h).</summary>
internal sealed unsafe class BlockDisk : IDisposable
{
    private const nuint SizeInBytes = 0x80081272, FlushCache = 0x1261, ZeroOut = 0x127F;
    private const int ReadWriteExclusive = 2 | 0x80 | 0x80000, SampleBytes = 64 * 1024, Samples = 64;
    private readonly SafeFileHandle _file;
    private readonly long _bytes;

    private BlockDisk(SafeFileHandle file, long bytes) => (_file, _bytes) = (file, bytes);

    /// <summary>Exclusively (O_EXCL): an IOException when anything has it mounted.</summary>
    public static BlockDisk Open(string path)
    {
        var descriptor = LibC.Open(path, ReadWriteExclusive);
        if (descriptor < 0)
            throw new IOException($"{path} cannot be opened: errno {Marshal.GetLastPInvokeError()}");
        var file = new SafeFileHandle(descriptor, ownsHandle: true);
        ulong bytes;
        if (LibC.Control(descriptor, SizeInBytes, (nint)(&bytes)) == 0)
            return new BlockDisk(file, (long)bytes);
        file.Dispose();
        throw new IOException($"the size of {path} cannot be read: errno {Marshal.GetLastPInvokeError()}");
    }

    /// <summary>Null when nothing has the disk for itself. One that has died (ENXIO, ENODEV) is nobody's; what else cannot be opened may be somebody's.</summary>
    public static string? InUse(string path)
    {
        const int exclusive = 0x80 | 0x80000, noAddress = 6, noDevice = 19;
        var descriptor = LibC.Open(path, exclusive);
        var error = Marshal.GetLastPInvokeError();
        if (descriptor < 0)
            return error is noAddress or noDevice ? null : $"{path} cannot be opened exclusively: errno {error}";
        _ = LibC.Close(descriptor);
        return null;
    }

    public void WriteZeros()
    {
        var range = stackalloc ulong[2] { 0, (ulong)_bytes };
        if (LibC.Control((int)_file.DangerousGetHandle(), ZeroOut, (nint)range) != 0)
            throw new IOException($"zeros could not be written: errno {Marshal.GetLastPInvokeError()}");
    }

    /// <summary>The offset of the first sample that is neither all zeros nor all ones, the two that erased flash may read as; null when there is none.</summary>
    public long? FirstRemains()
    {
        _ = LibC.Control((int)_file.DangerousGetHandle(), FlushCache, 0);
        var buffer = new byte[SampleBytes];
        for (var sample = 0; sample < Samples; sample++)
        {
            // First and last block among them, whole sectors all.
            var offset = (_bytes - SampleBytes) * sample / (Samples - 1) / PageBytes * PageBytes;
            var read = RandomAccess.Read(_file, buffer, Math.Max(0, offset));
            if (read > 0 && (buffer[0] is not (0 or 0xFF) || buffer.AsSpan(0, read).ContainsAnyExcept(buffer[0])))
                return Math.Max(0, offset);
        }
        return null;
    }

    private const int PageBytes = 4096;

    public void Dispose() => _file.Dispose();
}
