using Worker.Tests.Faults.Tracing;
using Worker.Tests.Hardware.Assignment;
using Worker.Faults;
using System.Runtime.InteropServices;
using System.Text;
using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Checks;
using Worker.Hardware;
using Worker.Images;
using Worker.Tests.Vms;
using Worker.Vms;
using Worker.Vms.Kvmtool;
using Xunit;

namespace Worker.Tests.Kvmtool;

/// <summary>Manager, runner, launcher, console and protocol as in production; in place of lkvm the stand-in.</summary>
public sealed class KvmtoolVmTests : IAsyncLifetime
{
    private const int Patience = 20;
    // lkvm's socket needs a path of at most 107 bytes, and the directory for temporary files may lie deep.
    private readonly TemporaryDirectory _root = new(Path.GetTempPath().Length <= 42 ? null : "/tmp"), _images = new();
    private readonly FakeVmm _qemu = new();
    private readonly Guid _id = Guid.NewGuid();
    private readonly CgroupTree _cgroups = CgroupTree.Open($"sandbox-tests-{Guid.NewGuid():N}");
    private KvmtoolFacts _facts = KvmtoolFacts.None;
    private VmManager _manager = null!;
    private long _revision;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;
    private RuntimeDirectory Directory => RuntimeDirectory.Of(_root.FullPath, _id);
    private VmView? View => _manager.Snapshot().Views.FirstOrDefault(view => view.Sandbox.Id == _id);
    private string Text => _manager.ConsoleOf(_id) is { } console ? Encoding.UTF8.GetString(console.Read(0, int.MaxValue).Data) : "";

    public async ValueTask InitializeAsync()
    {
        StandInLkvm.WriteImage(_images);
        _facts = await KvmtoolProbe.AskAsync(StandInLkvm.Path, Ct);
        StartWorker();
    }

    public async ValueTask DisposeAsync()
    {
        await _manager.DestroyAllAsync(TimeSpan.FromSeconds(10));
        await _manager.DisposeAsync();
        _qemu.KillAll();
        _cgroups.RemoveParent();
        _images.Dispose();
        _root.Dispose();
    }

    private void StartWorker(string? root = null)
    {
        var host = new KvmtoolHost(_facts, Acceleration.Kvm, Architecture.Arm64, null, _ => []);
        var kvmtool = new KvmtoolVmm(host, new ImageCatalogue(_images.FullPath), new HostFaults(HostTree.Machine, NoTracing.Anywhere, Origin.Hardware, TimeProvider.System, NullLogger.Instance), TimeProvider.System, NullLogger.Instance);
        _manager = new VmManager(root ?? _root.FullPath, new VmSurroundings(
            new VmmChoice(new Dictionary<Vmm, IVmm> { [Vmm.Qemu] = _qemu, [Vmm.Kvmtool] = kvmtool }),
            NodeWith.Devices(new EmulatedDevices([], 1), _root.FullPath, TimeProvider.System), new UserIds(false, 0, 0), _cgroups, "host-boot", TimeProvider.System, NullLogger.Instance));
        _manager.Start();
    }

    /// <summary>What a SIGKILL leaves: nothing is told, nothing is written.</summary>
    private async Task RestartWorkerAsync(Func<Task>? meanwhile = null)
    {
        await _manager.DisposeAsync();
        if (meanwhile is not null)
            await meanwhile();
        StartWorker();
    }

    private void Apply(DesiredState desired = DesiredState.Running, int incarnation = 1, Vmm vmm = Vmm.Kvmtool, string image = "guest") => _manager.Apply(new NodePlan(
        ++_revision, [new PlannedSandbox(_id, "x", incarnation, desired, false, new SandboxSpec(image, 2, 128, Viommu.None, [], null, [], vmm))], [], []));

    private Task<VmView> UntilAsync(VmState state, int incarnation = 1) => Eventually.GetAsync(
        () => View is { } view && view.Sandbox.State == state && view.Sandbox.Incarnation == incarnation ? view : null, $"the state is {state}", Patience);

    private Task UntilTextAsync(string text) => Eventually.TrueAsync(() => Text.Contains(text, StringComparison.Ordinal), $"the console shows {text}", Patience);

    private async Task<ReportedSandbox> StartAsync(int incarnation = 1)
    {
        Apply(incarnation: incarnation);
        var view = await UntilAsync(VmState.Running, incarnation);
        await UntilTextAsync("login: ");
        return view.Sandbox;
    }

    private Task TypeAsync(string keys) => _manager.ConsoleOf(_id)!.WriteAsync(Encoding.Latin1.GetBytes(keys), Ct);

    private static Condition Of(ReportedSandbox sandbox, ConditionType type) => sandbox.Conditions.Single(condition => condition.Type == type);

    private static int[] Lkvms(RuntimeDirectory directory) => [.. System.IO.Directory.EnumerateDirectories("/proc").Select(Path.GetFileName)
        .Where(name => name!.All(char.IsAsciiDigit)).Select(name => int.Parse(name!, System.Globalization.CultureInfo.InvariantCulture)).Where(pid => WorksIn(pid, directory.VmmDirectory))];

    private static bool WorksIn(int pid, string directory) => new DirectoryInfo($"/proc/{pid}/cwd").LinkTarget == directory;

    [Fact]
    public async Task Start_WhenConfirmed_RunsWithoutAgent()
    {
        var sandbox = await StartAsync();
        var running = Of(sandbox, ConditionType.VmmRunning);
        Assert.Equal((ConditionStatus.True, "VmmConfirmed"), (running.Status, running.Reason));
        Assert.Contains("no power button", running.Message, StringComparison.Ordinal);
        var ready = Of(sandbox, ConditionType.GuestReady);
        Assert.Equal((ConditionStatus.Unknown, "NoAgentUnderKvmtool"), (ready.Status, ready.Reason));
        Assert.Contains("Kernel command line: console=ttyS0 quiet", Text, StringComparison.Ordinal);
        Assert.Equal(0, _qemu.Starts);
    }

    [Fact]
    public async Task Start_TheVmsOwnDirectory_IsLkvmsHome()
    {
        await StartAsync();
        var (status, said) = StandInLkvm.Run(StandInLkvm.Path, Directory.VmmDirectory, ["list"]);
        Assert.Equal(0, status);
        Assert.Contains(" vm ", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Console_BothWays_AlsoCtrlA()
    {
        await StartAsync();
        await TypeAsync("hello\n");
        await UntilTextAsync("heard hello\r\n");
        // Ctrl-A and x would end the VM.
        await TypeAsync("a\u0001xb\n");
        await UntilTextAsync("heard a<01>xb\r\n");
        await TypeAsync("\u0001");
        await TypeAsync("x\n");
        await UntilTextAsync("heard <01>x\r\n");
        Assert.Equal(VmState.Running, View!.Sandbox.State);
    }

    [Fact]
    public async Task Adopt_AfterTheWorkersCrash_GoesOnWithTheSameProcessAndConsole()
    {
        var before = await StartAsync();
        await RestartWorkerAsync();
        await TypeWhenConnectedAsync("still there\n");
        await UntilTextAsync("heard still there\r\n");
        Assert.Equal((VmState.Running, before.VmmPid), (View!.Sandbox.State, View.Sandbox.VmmPid));
        Assert.Equal(1, Text.Split("login: ").Length - 1);
        Assert.Null(_qemu.Current);
        await Eventually.TrueAsync(() => _manager.Sample(TimeProvider.System.GetUtcNow()).Single().Readings.Single(r => r.Source == FaultSource.VmmMinor).Value > 0, "lkvm's faults are read again");
    }

    private Task TypeWhenConnectedAsync(string keys) => Eventually.TrueAsync(() =>
    {
        TypeAsync(keys).GetAwaiter().GetResult();
        return true;
    }, "the console takes keys", Patience);

    [Fact]
    public async Task Adopt_WhenTheProcessWasNotWrittenDown_FindsItByItsDirectory()
    {
        var before = await StartAsync();
        await RestartWorkerAsync(() =>
        {
            var record = VmFiles.ReadRecord(Directory)!;
            VmFiles.Write(Directory, record with { Process = null });
            return Task.CompletedTask;
        });
        Assert.Equal((VmState.Running, before.VmmPid), (View!.Sandbox.State, View.Sandbox.VmmPid));
    }

    [Fact]
    public async Task Adopt_WhenTheGuestPoweredOffMeanwhile_TellsSo()
    {
        await StartAsync();
        await TypeAsync("poweroff\n");
        await RestartWorkerAsync();
        var ended = await UntilAsync(VmState.Stopped);
        Assert.Equal("GuestPoweredOff", Of(ended.Sandbox, ConditionType.VmmRunning).Reason);
    }

    [Fact]
    public async Task Stop_AsAsked_EndsAtOnce()
    {
        await StartAsync();
        Apply(DesiredState.Stopped);
        var ended = await UntilAsync(VmState.Stopped);
        Assert.Null(ended.Sandbox.Failure);
        Assert.Equal(StopReasons.AsPlanned, Of(ended.Sandbox, ConditionType.VmmRunning).Reason);
        Assert.Empty(Lkvms(Directory));
        Assert.Equal("login: ", Text[^7..]);
    }

    [Theory]
    [InlineData("poweroff", VmState.Stopped, "GuestPoweredOff")]
    [InlineData("reboot", VmState.Failed, "GuestReset")]
    [InlineData("panic", VmState.Failed, "GuestPanicked")]
    [InlineData("silent", VmState.Failed, "GuestEndUnknown")]
    [InlineData("crash", VmState.Failed, "VmmKilled")]
    [InlineData("die", VmState.Failed, "BarWindowTooSmall")]
    public async Task End_OfEachKind_IsToldApart(string word, VmState state, string reason)
    {
        await StartAsync();
        await TypeAsync(word + "\n");
        var ended = await UntilAsync(state);
        Assert.Equal(reason, state == VmState.Failed ? ended.Sandbox.Failure!.Reason : Of(ended.Sandbox, ConditionType.VmmRunning).Reason);
        Assert.Empty(Lkvms(Directory));
    }

    [Fact]
    public async Task Kill_OfTheLauncher_LeavesNoProcessAndIsNoPowerOff()
    {
        var sandbox = await StartAsync();
        Assert.True(Lkvms(Directory).Length >= 3);
        await TypeAsync("reboot: Power down\n");
        await UntilTextAsync("heard reboot: Power down");
        using (var launcher = ProcessHandle.Open(ProcessIdentity.Of(sandbox.VmmPid!.Value)!))
            launcher!.Kill();
        var ended = await UntilAsync(VmState.Failed);
        Assert.Equal("VmmKilled", ended.Sandbox.Failure!.Reason);
        await Eventually.TrueAsync(() => Lkvms(Directory).Length == 0, "no process is left");
    }

    [Fact]
    public async Task Delete_WhileRunning_LeavesNothing()
    {
        await StartAsync();
        Apply(DesiredState.Deleted);
        await UntilAsync(VmState.Absent);
        Assert.False(Directory.Exists);
        Assert.Empty(Lkvms(Directory));
    }

    [Fact]
    public async Task Restart_ShowsBothIncarnationsOnOneConsole()
    {
        await StartAsync();
        await TypeAsync("poweroff\n");
        await UntilAsync(VmState.Stopped);
        await UntilTextAsync("reboot: Power down");
        Apply(incarnation: 2);
        await UntilAsync(VmState.Running, 2);
        await Eventually.TrueAsync(() => Text.Split("login: ").Length == 3, "the second boot follows the first", Patience);
    }

    [Fact]
    public async Task Start_WhenLkvmRefuses_TellsWhatItSaid()
    {
        Apply();
        var kernel = Path.Combine(_images.Of("guest"), "kernel");
        await UntilAsync(VmState.Running);
        Apply(DesiredState.Stopped);
        await UntilAsync(VmState.Stopped);
        // Known to the catalogue and gone when lkvm opens it: as a path that the VM's user may not pass.
        _facts = _facts with { Options = KvmtoolCommandLine.Needed.Append("loglevel").ToHashSet(), Path = "/bin/false" };
        await RestartWorkerAsync();
        Apply(incarnation: 2);
        var ended = await UntilAsync(VmState.Failed, 2);
        Assert.Equal("VmmStartFailed", ended.Sandbox.Failure!.Reason);
        Assert.True(File.Exists(kernel));
    }

    [Fact]
    public async Task Start_WhereTheSocketsPathIsTooLong_FailsWithItsReason()
    {
        await _manager.DisposeAsync();
        var deep = System.IO.Directory.CreateDirectory(_root.Of(new string('d', 60))).FullName;
        StartWorker(deep);
        Apply();
        var ended = await UntilAsync(VmState.Failed);
        Assert.Equal("StateDirectoryTooDeep", ended.Sandbox.Failure!.Reason);
        Assert.Contains("bytes shorter", ended.Sandbox.Failure.Remedy, StringComparison.Ordinal);
        Apply(DesiredState.Deleted);
        await UntilAsync(VmState.Absent);
    }

    [Fact]
    public async Task Start_OfTheOtherKind_IsTheOthers()
    {
        Apply(vmm: Vmm.Qemu);
        await Eventually.TrueAsync(() => _qemu.Starts == 1, "the other VMM was started", Patience);
        Assert.Null(_manager.ConsoleOf(_id));
        await RestartWorkerAsync();
        Assert.NotNull(_qemu.Current);
    }

    [Fact]
    public async Task Sample_HasOnlyTheVmmsFaults_EachOtherWithAReason()
    {
        await StartAsync();
        var readings = _manager.Sample(TimeProvider.System.GetUtcNow()).Single().Readings.ToDictionary(reading => reading.Source);
        Assert.True(readings[FaultSource.VmmMinor].Value > 0);
        Assert.NotNull(readings[FaultSource.VmmMajor].Value);
        foreach (var (source, reason) in ((string, string)[])[
            (FaultSource.GuestMinor, "NoAgentUnderKvmtool"), (FaultSource.GuestMajor, "NoAgentUnderKvmtool"),
            (FaultSource.SmmuEvents, "NoSmmu"), (FaultSource.SmmuTlbHits, "NoSmmu"), (FaultSource.SmmuTlbMisses, "NoSmmu")])
            Assert.Equal((null, reason), (readings[source].Value, readings[source].NullReason));
    }

    [Fact]
    public async Task Log_OfAVmmThatComplainsWithoutEnd_KeepsItsEndOnTheDiskOnly()
    {
        await StartAsync();
        await TypeAsync("complain 20000\n");
        await UntilTextAsync("complained");
        await Eventually.TrueAsync(() => BytesOnDisk(Directory.VmmLog) <= KvmtoolVm.MaxLogBytes + 8192, "the log is trimmed", Patience);
        Assert.True(new FileInfo(Directory.VmmLog).Length > KvmtoolVm.MaxLogBytes);
    }

    private static long BytesOnDisk(string path) => long.Parse(StandInLkvm.Run("stat", "-c", "%b", path).Said, System.Globalization.CultureInfo.InvariantCulture) * 512;
}
