using Worker.Vms;
using Xunit;

namespace Worker.Tests.Vms;

/// <summary>What a VMM is started under: as arguments, and as a real process sees it.</summary>
public sealed class VmConfinementTests : IDisposable
{
    private readonly TemporaryDirectory _root = new();
    private readonly RuntimeDirectory _directory;

    public VmConfinementTests()
    {
        _directory = RuntimeDirectory.Of(_root.FullPath, Guid.NewGuid());
        _directory.Create();
        _directory.CreateVmmDirectory(null);
    }

    public void Dispose() => _root.Dispose();

    private static readonly string[] Unprivileged = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"];

    private static readonly Dictionary<string, (VmConfinement Confinement, string[] Wrappers)> Cases = new()
    {
        ["nothing"] = (new(null, null), []),
        ["a group without a user"] = (new(null, 108), []),
        ["a user"] = (new(70_001, null), ["setpriv", "--reuid", "70001", "--regid", "70001", "--clear-groups", .. Unprivileged]),
        ["a user with a group"] = (new(70_001, 108), ["setpriv", "--reuid", "70001", "--regid", "70001", "--groups", "108", .. Unprivileged]),
        ["CPUs"] = (new(null, null) { Cpus = "64-127" }, ["taskset", "--cpu-list", "64-127"]),
        ["CPUs, before privileges are gone"] = (new(70_001, null) { Cpus = "0-3,8" }, ["taskset", "--cpu-list", "0-3,8", "setpriv", "--reuid", "70001", "--regid", "70001", "--clear-groups", .. Unprivileged]),
        ["what the launcher does itself"] = (new(null, null) { MemlockKib = 1, OpenFile = "/dev/iommu" }, []),
    };

    public static TheoryData<string> CaseNames => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(CaseNames))]
    public void Wrappers_OfEachConfinement_AreThese(string name) => Assert.Equal(Cases[name].Wrappers, Cases[name].Confinement.Wrappers());

    private const string Witness = "grep 'Max locked memory' /proc/self/limits; grep Cpus_allowed_list /proc/self/status; readlink /proc/self/fd/3; echo seen; exec sleep 1000";

    /// <summary>What a program says that is started so.</summary>
    private async Task<string> SaidAsync(VmConfinement confinement)
    {
        using var process = VmProcess.Start(_directory, null, confinement, "/bin/sh", ["-c", Witness]);
        try
        {
            await Eventually.TrueAsync(() => VmProcess.ReadLog(_directory).EndsWith("seen", StringComparison.Ordinal), "it has said all");
            return VmProcess.ReadLog(_directory);
        }
        finally
        {
            process.Kill();
        }
    }

    [Fact]
    public async Task Start_WhenItMayPinAndGetsAFile_HasBothAndItsCpus()
    {
        File.WriteAllText(_root.Of("iommu"), "");
        var said = await SaidAsync(new VmConfinement(null, null) { MemlockKib = 4096, OpenFile = _root.Of("iommu"), Cpus = "0" });
        Assert.Matches(@"Max locked memory +4194304 +4194304 +bytes", said);
        Assert.Matches(@"Cpus_allowed_list:\s+0 ", said);
        Assert.Contains(_root.Of("iommu"), said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_WhenNothingIsAsked_PinsWhatTheHostSays()
    {
        var own = File.ReadLines("/proc/self/limits").Single(l => l.StartsWith("Max locked memory", StringComparison.Ordinal)).Trim();
        Assert.Contains(own, await SaidAsync(new VmConfinement(null, null)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_WhenTheFileCannotBeOpened_RunsNothing()
    {
        try
        {
            using var process = VmProcess.Start(_directory, null, new VmConfinement(null, null) { OpenFile = _root.Of("none/iommu") }, "/bin/sh", ["-c", Witness]);
            await Eventually.TrueAsync(() => process.HasExited, "it ends");
        }
        catch (VmStartException problem)
        {
            // It had ended before it could be looked at.
            Assert.Equal("VmmStartFailed", problem.Reason);
        }
        await Eventually.TrueAsync(() => VmProcess.ReadLog(_directory).Contains("none/iommu", StringComparison.Ordinal), "it says which");
        Assert.DoesNotContain("seen", VmProcess.ReadLog(_directory), StringComparison.Ordinal);
    }
}
