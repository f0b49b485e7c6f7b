using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Checks;
using Worker.Faults;
using Worker.Hardware;
using Worker.Images;
using Worker.Tests.Faults.Tracing;
using Worker.Tests.Images;
using Worker.Vms;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Qemu;

/// <summary>What a real QEMU makes of a disk image and a seed.</summary>
public sealed class QemuDiskTests : IDisposable
{
    private const int DiskBytes = 1 << 20, SectorBytes = 512, FirstSector = 63;
    private static readonly Guid Id = Guid.Parse("00112233-4455-6677-8899-aabbccddeeff");
    private readonly TemporaryDirectory _root = new();
    private readonly RuntimeDirectory _directory;

    public QemuDiskTests()
    {
        _directory = RuntimeDirectory.Of(_root.FullPath, Id);
        _directory.Create();
        File.WriteAllText(_root.Of("efi.fd"), "nothing that runs");
    }

    public void Dispose() => _root.Dispose();

    private static string Qemu(bool newest)
    {
        var qemu = newest ? Environment.GetEnvironmentVariable("SANDBOX_TEST_QEMU") : QemuProbe.Locate(null);
        Assert.SkipWhen(string.IsNullOrEmpty(qemu), newest ? "no QEMU 11 on this machine: SANDBOX_TEST_QEMU names one" : "qemu-system-aarch64 is not installed");
        return qemu!;
    }

    private static SandboxSpec Spec(string? userData, params string[] keys) => new("cloud", 1, 128, Viommu.None, [], userData, keys, Vmm.Qemu);

    private static async Task<string> AskAsync(QmpClient qmp, string command, CancellationToken ct) =>
        (await qmp.ExecuteAsync("human-monitor-command", new JsonObject { ["command-line"] = command }, ct)).GetString()!;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Start_OfADisk_ShowsTheSeedAndLeavesTheImageAsItIs(bool newest)
    {
        var qemu = Qemu(newest);
        var disk = DiskImageTests.Write(_root, "a,b", "raw", new byte[DiskBytes]);
        _directory.CreateVmmDirectory(null);
        File.WriteAllText(QemuEventLog.InputOf(_directory.EventPipe), QemuCommandLine.EnableEvents);
        File.WriteAllText(QemuEventLog.OutputOf(_directory.EventPipe), "");
        var seed = CloudInitSeed.For(Id, 3, "web", Spec("#!/bin/sh\n# ü 😀 \"'\\\n" + new string('x', 16_000), "ssh-ed25519 AAAA a \"b\""), false);
        seed.Write(_directory, null);
        var machine = QemuCommandLineTests.Machine(root: _root.FullPath) with
        {
            Memory = GuestMemory.Plain(128),
            Kernel = null,
            Initrd = null,
            Firmware = _root.Of("efi.fd"),
            Disk = new ImageDisk(disk, DiskFormat.Raw),
        };
        var start = new ProcessStartInfo(qemu) { RedirectStandardError = true, RedirectStandardOutput = true, WorkingDirectory = _directory.VmmDirectory };
        start.Environment["TMPDIR"] = _directory.VmmDirectory;
        foreach (var argument in QemuCommandLine.Build(machine).Append("-S"))
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(60));
        try
        {
            process.Exited += (_, _) => limit.Cancel();
            process.EnableRaisingEvents = true;
            await using var qmp = await QmpClient.ConnectAsync(_directory.QmpSocket, TimeProvider.System, NullLogger.Instance, limit.Token);
            Assert.Contains("vvfat, read-only", await AskAsync(qmp, "info block", limit.Token), StringComparison.Ordinal);
            async Task<byte[]> ReadAsync(string node, long offset, int bytes)
            {
                // A dump is longer than a pipe holds: it is read while it is written.
                var dump = DumpAsync(process.StandardOutput, bytes, limit.Token);
                Assert.Equal("", await AskAsync(qmp, $"qemu-io {node} \"read -v {offset} {bytes}\"", limit.Token));
                return await dump;
            }
            var volume = new SeedVolume((offset, bytes) => ReadAsync("seed", offset, bytes));
            var files = await volume.ReadAsync();
            Assert.Equal(CloudInitSeed.Label, volume.Label);
            Assert.Equal(["meta-data", "user-data"], files.Keys.Order(StringComparer.Ordinal));
            Assert.Equal((seed.MetaData, seed.UserData), (files["meta-data"], files["user-data"]));

            await AskAsync(qmp, $"qemu-io root \"write -P 170 0 {SectorBytes}\"", limit.Token);
            Assert.All(await ReadAsync("root", 0, SectorBytes), b => Assert.Equal(170, b));
            // The image to read, the overlay to read and write.
            Assert.Equal([0, 2], Open(process.Id).OrderBy(o => o.Path != disk).Select(o => o.Flags & 3));
        }
        catch (OperationCanceledException) when (process.HasExited)
        {
            Assert.Fail(await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken));
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        }
        Assert.All(File.ReadAllBytes(disk), b => Assert.Equal(0, b));
        Assert.Equal(["agent.sock", "events.in", "events.out", "qmp.sock", "seed", "serial.sock", "trace.log"], Directory.EnumerateFileSystemEntries(_directory.VmmDirectory).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Start_ByTheVmm_RunsAsItsUserWithTheOverlayInItsDirectory()
    {
        var qemu = Qemu(newest: false);
        var disk = DiskImageTests.Write(_root, "cloud", "qcow2", EmptyQcow2());
        var facts = await QemuProbe.AskAsync(qemu, _root.Of("efi.fd"), TestContext.Current.CancellationToken);
        var privileged = LibC.EffectiveUser() == 0;
        var node = new NodeCapabilities(null!, HardwareInventory.None, facts, Acceleration.Tcg, "", privileged, null!, []);
        var vmm = new QemuVmm(node, new ImageCatalogue(_root.FullPath), new HostFaults(HostTree.Machine, NoTracing.Anywhere, Origin.Hardware, TimeProvider.System, NullLogger.Instance), false, TimeProvider.System, NullLogger.Instance);
        var user = privileged ? 1_900_000_001u : (uint?)null;
        Assert.False(vmm.Check(Spec(null)));
        _directory.CreateVmmDirectory(user);
        await using var vm = vmm.Start(new VmLaunch(_directory, 1, Spec("#!/bin/sh\n"), [], user, null) { Name = "web" }, (_, _) => ValueTask.CompletedTask);
        try
        {
            await Eventually.TrueAsync(() => vm.HasExited || (Open(vm.Process.Pid) is { Count: 2 } open && open.Any(o => o.Path.EndsWith(" (deleted)", StringComparison.Ordinal))), "QEMU has both files open, one of them without a name", 30);
            Assert.False(vm.HasExited, VmProcess.ReadLog(_directory));
            var (image, overlay) = (Open(vm.Process.Pid).Single(o => o.Path == disk), Open(vm.Process.Pid).Single(o => o.Path != disk));
            Assert.Equal(0, image.Flags & 3);
            Assert.Equal(2, overlay.Flags & 3);
            Assert.StartsWith(_directory.VmmDirectory + "/", overlay.Path, StringComparison.Ordinal);
            Assert.EndsWith(" (deleted)", overlay.Path, StringComparison.Ordinal);
            Assert.Equal("#!/bin/sh\n", File.ReadAllText(Path.Combine(_directory.VmmDirectory, "seed", "user-data")));
            if (user is { } id)
            {
                Assert.Equal(id, LibC.Describe(Path.Combine(_directory.VmmDirectory, "seed", "user-data"))!.Value.Owner);
                Assert.Contains(File.ReadLines($"/proc/{vm.Process.Pid}/status"), line => line.StartsWith($"Uid:\t{id}\t{id}", StringComparison.Ordinal));
            }
        }
        finally
        {
            vm.Kill();
            await Eventually.TrueAsync(() => vm.HasExited, "QEMU is gone");
        }
    }

    [Fact]
    public void Check_OfADiskWithoutFirmware_IsFirmwareMissing()
    {
        DiskImageTests.Write(_root, "cloud", "raw", [1]);
        var facts = new QemuFacts("/usr/bin/qemu-system-aarch64", "7.2", new HashSet<string>(), new HashSet<string> { "neoverse-n1" }, new HashSet<string>(), new HashSet<string>());
        bool Check(QemuFacts qemu) => new QemuVmm(
            new NodeCapabilities(null!, HardwareInventory.None, qemu, Acceleration.Tcg, "", false, null!, []), new ImageCatalogue(_root.FullPath), new HostFaults(HostTree.Machine, NoTracing.Anywhere, Origin.Hardware, TimeProvider.System, NullLogger.Instance), false, TimeProvider.System, NullLogger.Instance).Check(Spec(null));
        Assert.Equal("FirmwareMissing", Assert.Throws<VmStartException>(() => Check(facts)).Reason);
        Assert.False(Check(facts with { Firmware = "/efi.fd" }));
    }

    /// <summary>The image and the overlay, as the process has them open.</summary>
    private List<(string Path, int Flags)> Open(int pid)
    {
        var found = new List<(string, int)>();
        foreach (var entry in new DirectoryInfo($"/proc/{pid}/fd").EnumerateFileSystemInfos())
            try
            {
                if (entry.LinkTarget is { } path && path.StartsWith(_root.FullPath, StringComparison.Ordinal) && (path.EndsWith("disk.img", StringComparison.Ordinal) || Path.GetFileName(path).StartsWith("vl.", StringComparison.Ordinal)))
                    found.Add((path, Convert.ToInt32(File.ReadLines($"/proc/{pid}/fdinfo/{entry.Name}").Single(l => l.StartsWith("flags:", StringComparison.Ordinal))[6..].Trim(), 8)));
            }
            catch (IOException)
            {
                // Closed meanwhile.
            }
        return found;
    }

    /// <summary>What qemu-io prints of one reading: "offset:  16 bytes in hexadecimal  text".</summary>
    private static async Task<byte[]> DumpAsync(StreamReader output, int bytes, CancellationToken ct)
    {
        var read = new List<byte>();
        while (read.Count < bytes)
            if (await output.ReadLineAsync(ct) is { } line && line.IndexOf(":  ", StringComparison.Ordinal) is 8 and var colon)
                read.AddRange(line.Substring(colon + 3, 48).Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(b => byte.Parse(b, NumberStyles.HexNumber, CultureInfo.InvariantCulture)));
        return [.. read];
    }

    /// <summary>Version 2, clusters of 64 KiB, 1 MiB, nothing in it: header, first-level table, table of reference counts and its one block.</summary>
    private static byte[] EmptyQcow2()
    {
        const int cluster = 1 << 16;
        var file = new byte[4 * cluster];
        DiskImageTests.Qcow2(version: 2, bytes: 72).CopyTo(file, 0);
        BinaryPrimitives.WriteUInt32BigEndian(file.AsSpan(20), 16);
        BinaryPrimitives.WriteUInt64BigEndian(file.AsSpan(24), DiskBytes);
        BinaryPrimitives.WriteUInt32BigEndian(file.AsSpan(36), 1);
        BinaryPrimitives.WriteUInt64BigEndian(file.AsSpan(40), 3 * cluster);
        BinaryPrimitives.WriteUInt64BigEndian(file.AsSpan(48), cluster);
        BinaryPrimitives.WriteUInt32BigEndian(file.AsSpan(56), 1);
        BinaryPrimitives.WriteUInt64BigEndian(file.AsSpan(cluster), 2 * cluster);
        for (var used = 0; used < 4; used++)
            BinaryPrimitives.WriteUInt16BigEndian(file.AsSpan(2 * cluster + (2 * used)), 1);
        return file;
    }

    /// <summary>A reader of a FAT16 volume behind a partition table, for files in one piece with long names of one entry.</summary>
    private sealed class SeedVolume(Func<long, int, Task<byte[]>> read)
    {
        public string? Label { get; private set; }

        public async Task<Dictionary<string, string>> ReadAsync()
        {
            var boot = await read(FirstSector * SectorBytes, SectorBytes);
            Label = Encoding.ASCII.GetString(boot, 43, 11).TrimEnd();
            Assert.Equal("FAT16", Encoding.ASCII.GetString(boot, 54, 8).TrimEnd());
            int perCluster = boot[13], reserved = Number(boot, 14), tables = boot[16], entries = Number(boot, 17), tableSectors = Number(boot, 22);
            var root = (long)FirstSector + reserved + (tables * tableSectors);
            var data = root + (entries * 32 / SectorBytes);
            var listing = await read(root * SectorBytes, SectorBytes);
            Assert.Equal((CloudInitSeed.Label, 8), (Encoding.ASCII.GetString(listing, 0, 11).TrimEnd(), listing[11] & 8));
            var files = new Dictionary<string, string>();
            var name = "";
            for (var at = 32; at < listing.Length && listing[at] != 0; at += 32)
            {
                var entry = listing[at..(at + 32)];
                if (entry[11] == 15)
                    name = Encoding.Unicode.GetString([.. entry[1..11], .. entry[14..26], .. entry[28..32]]).Split('\0')[0];
                else if (entry[0] != '.')
                {
                    var bytes = (int)BinaryPrimitives.ReadUInt32LittleEndian(entry.AsSpan(28));
                    var sectors = (bytes + SectorBytes - 1) / SectorBytes;
                    var content = await read((data + ((Number(entry, 26) - 2L) * perCluster)) * SectorBytes, sectors * SectorBytes);
                    files.Add(name, Encoding.UTF8.GetString(content, 0, bytes));
                }
            }
            return files;
        }

        private static int Number(byte[] bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(at));
    }
}
