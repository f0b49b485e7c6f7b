using System.Diagnostics;
using System.Text.RegularExpressions;
using Worker.Checks;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Qemu;

/// <summary>A QEMU that has accelerated SMMUs takes every line with a function of the host, up to the hardware that this machine does not have.
/// KVM and its CPU are put in TCG's place. An accelerated SMMU asks for KVM before the devices behind it are looked at, so each of those lines is tried
/// once as it is, and once with an SMMU that is not accelerated.</summary>
public sealed partial class QemuRealisedTests
{
    private const string Variable = "SANDBOX_TEST_QEMU";

    [GeneratedRegex("no such host device|requires KVM|/dev/iommu|iommufd|/dev/vfio", RegexOptions.IgnoreCase)]
    private static partial Regex LacksHardware { get; }

    [GeneratedRegex("Property .* not found|Parameter .* (is )?unexpected|does not accept value|Invalid parameter|expects|is not a valid device model name|invalid option|unsupported machine|Bus .* not found|No .* bus found|Duplicate", RegexOptions.IgnoreCase)]
    private static partial Regex BadLine { get; }

    [GeneratedRegex("accel=on,ats=(on|off),ril=(on|off),oas=(44|48),ssidsize=[0-9]+")]
    private static partial Regex Values { get; }

    public static TheoryData<string, bool> Lines
    {
        get
        {
            var lines = new TheoryData<string, bool>();
            foreach (var name in QemuAssignedLineTests.Machines.Keys)
            {
                lines.Add(name, true);
                if (HasSmmu(name))
                    lines.Add(name, false);
            }
            return lines;
        }
    }

    [Theory]
    [MemberData(nameof(Lines))]
    public async Task Start_OfEachAssignedLine_EndsForWantOfHardwareAlone(string name, bool accelerated)
    {
        var said = await SaidAsync(name, line => accelerated ? line : Values.Replace(line, "accel=off"));
        Assert.Matches(LacksHardware, said);
        Assert.Matches(HasSmmu(name) && accelerated ? "requires KVM" : "no such host device", said);
        Assert.DoesNotMatch(BadLine, said);
    }

    private static bool HasSmmu(string name) => QemuAssignedLineTests.Machines[name]("/s").Smmus.Count > 0;

    [Fact]
    public async Task Probe_FindsWhatTheMachineCan()
    {
        var qemu = Environment.GetEnvironmentVariable(Variable);
        Assert.SkipWhen(string.IsNullOrEmpty(qemu), $"no QEMU 11 on this machine: {Variable} names one that has arm-smmuv3,accel=on");
        Assert.Contains("highmem-mmio-size", (await QemuProbe.AskAsync(qemu, null, TestContext.Current.CancellationToken)).MachineProperties);
    }

    [Theory]
    [InlineData("oas=48", "oas=47")]
    [InlineData("ssidsize=16", "ssidsize=21")]
    [InlineData("ril=on", "rill=on")]
    [InlineData("rombar=0", "rombarr=0")]
    [InlineData("io-reserve=0", "io_reserves=0")]
    [InlineData("bus=rp0", "bus=rp9")]
    public async Task Start_OfALineWithAMistake_IsToldFromOneWithoutHardware(string right, string wrong)
    {
        // What is behind an accelerated SMMU is not looked at without KVM.
        var behind = right is "rombar=0" or "io-reserve=0" or "bus=rp0";
        Assert.Matches(BadLine, await SaidAsync("one SMMU", line => (behind ? Values.Replace(line, "accel=off") : line).Replace(right, wrong, StringComparison.Ordinal)));
    }

    private static async Task<string> SaidAsync(string name, Func<string, string> change)
    {
        var qemu = Environment.GetEnvironmentVariable(Variable);
        Assert.SkipWhen(string.IsNullOrEmpty(qemu), $"no QEMU 11 on this machine: {Variable} names one that has arm-smmuv3,accel=on");
        using var root = new TemporaryDirectory();
        var built = QemuAssignedLineTests.Machines[name](root.FullPath);
        built.Directory.Create();
        built.Directory.CreateVmmDirectory(null);
        foreach (var file in (string[])["kernel", "efi.fd"])
            File.WriteAllText(root.Of(file), "nothing that runs");
        File.WriteAllText(QemuEventLog.InputOf(built.Directory.EventPipe), QemuCommandLine.EnableEvents);
        File.WriteAllText(QemuEventLog.OutputOf(built.Directory.EventPipe), "");
        // Neither huge pages nor a second NUMA node are everywhere: their options stand in the golden lines alone.
        var machine = built with
        {
            Acceleration = Contracts.Acceleration.Tcg,
            Kernel = root.Of("kernel"),
            Initrd = null,
            Firmware = built.Firmware is null ? null : root.Of("efi.fd"),
            Memory = built.Memory with { Mib = 128, HugePageKib = null, NumaNode = built.Memory.NumaNode is null ? null : 0 },
        };
        // Descriptor 3 is what the worker opens for the VMM; /dev/null has its place.
        var start = new ProcessStartInfo("/bin/sh") { RedirectStandardError = true, RedirectStandardInput = true, WorkingDirectory = built.Directory.VmmDirectory };
        foreach (var argument in (IEnumerable<string>)["-c", "exec 3<>/dev/null; exec \"$0\" \"$@\"", qemu!, .. QemuCommandLine.Build(machine).Select(change), "-S"])
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(60));
        try
        {
            var said = await process.StandardError.ReadToEndAsync(limit.Token);
            await process.WaitForExitAsync(limit.Token);
            Assert.NotEqual(0, process.ExitCode);
            return said;
        }
        finally
        {
            if (!process.HasExited)
                process.Kill();
        }
    }
}
