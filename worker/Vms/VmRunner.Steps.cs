using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Checks;

namespace Worker.Vms;

// The steps that change the world. Each may be repeated after a crash in its middle.
public sealed partial class VmRunner
{
    /// <summary>Before the runner runs: takes over what an earlier worker left, so that no report goes out without it.</summary>
    public void Adopt()
    {
        if (!_directory.Exists)
            return;
        _record = VmFiles.ReadRecord(_directory);
        _spec = VmFiles.ReadSpec(_directory);
        if (_record is not { } record)
        {
            // Nothing is known: whatever still runs of it cannot be reported, so it ends; the plan decides about the rest.
            EndUnknown();
            return;
        }
        // First of all: whatever else fails, nobody is given the user or the devices of a guest that may run.
        if (!record.HasEnded)
        {
            _around.Users.Adopt(record.User);
            _around.Devices.Adopt(Id, record.HeldDevices, Now);
        }
        OpenConsoleIfPossible();
        if (!record.HasEnded)
        {
            if (record.HostBootId != _around.HostBootId)
                _record = record with { End = record.End ?? EndCause.VmmLost, Process = null };
            else if (_spec is { } spec)
                TakeOver(record, spec);
        }
        Publish();
    }

    private void TakeOver(VmRecord record, SandboxSpec spec)
    {
        var launch = new VmLaunch(_directory, record.Incarnation, spec, _around.Devices.Describe(_directory, spec.Devices), record.User, CgroupOf(record));
        _vm = _around.Vmm.Adopt(launch, record.Process, TellAsync);
        if (_vm is { } vm && record.Process is null)
            Save(record with { Process = vm.Process, ExecAt = record.ExecAt ?? Now });
        _around.Log.LogInformation("Sandbox {Sandbox}: {Outcome}", Id, _vm is null ? "its VMM ended while no worker ran" : "adopted");
    }

    private void EndUnknown()
    {
        _around.Cgroups.Of(Id)?.KillAll();
        using var handle = VmProcess.Find(_directory, null, null);
        handle?.Kill();
    }

    private async Task StartAsync(PlannedSandbox planned, CancellationToken ct)
    {
        _spec = planned.Spec;
        _agentPowerOffSent = _quitSent = false;
        _probesTaken = 0;
        var record = new VmRecord(Id, planned.Incarnation, VmState.Preparing) { HostBootId = _around.HostBootId };
        try
        {
            record = record with { HasAgent = _around.Vmm.Check(planned.Spec) };
            if (!_around.Devices.TryHold(Id, planned.Spec.Devices, Now, out var failure))
            {
                _directory.Create();
                Save(record with { End = EndCause.Failed, Failure = failure });
                return;
            }
            // What is held stands in the record before anything can fail.
            record = record with { HeldDevices = planned.Spec.Devices };
            record = record with { User = _around.Users.Take(), Cgroup = _around.Cgroups.Of(Id)?.FullPath };
            await LaunchAsync(record, planned, ct);
        }
        catch (VmStartException problem)
        {
            _directory.Create();
            Save((_record is { } begun && begun.Incarnation == record.Incarnation ? begun : record) with
            {
                End = EndCause.Failed,
                Failure = new Failure(problem.Reason, problem.Message, problem.Remedy, Now),
            });
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException or System.ComponentModel.Win32Exception)
        {
            _around.Log.LogError(problem, "Sandbox {Sandbox}: the VMM could not be started", Id);
            _record = (_record is { } begun && begun.Incarnation == record.Incarnation ? begun : record) with
            {
                End = EndCause.Failed,
                Failure = StartReasons.VmmStartFailed.ToFailure(Now, $"The node could not start it: {problem.Message}"),
            };
            Publish();
        }
    }

    private async Task LaunchAsync(VmRecord record, PlannedSandbox planned, CancellationToken ct)
    {
        var spec = planned.Spec;
        _directory.Create();
        VmFiles.Write(_directory, spec);
        // Without this record a next worker could not find the guest.
        SaveOrThrow(record);
        OpenConsole();
        record = record with { ConsoleFrom = _console?.End ?? 0 };
        File.Delete(VmProcess.PidFile(_directory));
        _directory.CreateVmmDirectory(record.User);
        var devices = await _around.Devices.PrepareAsync(_directory, spec.Devices, spec.Vmm, record.User, ct);
        var cgroup = CgroupOf(record);
        var limited = _around.Cgroups.LimitsReason is null;
        cgroup?.Create(limited ? (long)spec.MemoryMib << 20 : null, limited ? spec.Vcpus : null);
        _vm = _around.Vmm.Start(new VmLaunch(_directory, record.Incarnation, spec, devices, record.User, cgroup) { Name = planned.Name }, TellAsync);
        record = record with { Process = _vm.Process, ExecAt = Now };
        if (spec.Devices.Count > 0)
            record = record.With(ConditionReasons.DevicesPrepared.At(Now));
        Save(Judged(record));
    }

    private void ReportEnded(PlannedSandbox planned, EndCause cause)
    {
        var record = new VmRecord(Id, planned.Incarnation, VmState.Preparing) { HostBootId = _around.HostBootId, HeldDevices = planned.Spec.Devices };
        _spec = planned.Spec;
        _directory.Create();
        VmFiles.Write(_directory, planned.Spec);
        OpenConsole();
        Save(VmEnding.Apply(record, cause, "", Now));
    }

    private void Kill()
    {
        if (_record!.End is null)
            Save(_record with { End = EndCause.StoppedByUser, State = VmState.Stopping });
        _vm!.Kill();
    }

    /// <summary>The VMM lives no longer: everything it used is cleaned, and only then the end is told.</summary>
    private async Task<bool> FinishAsync(CancellationToken ct)
    {
        var record = _record!;
        await LetGoAsync();
        if (CgroupOf(record) is { } cgroup)
        {
            cgroup.KillAll();
            if (!cgroup.Remove())
                return false;
        }
        var cause = VmEnding.CauseOf(record, () => _around.Vmm.ReadEnd(_directory));
        if (cause == EndCause.GuestReset && ConsoleShowsPanic())
            cause = EndCause.GuestPanicked;
        var ended = VmEnding.Apply(record, cause, _around.Vmm.ReadLog(_directory), Now);
        // Cleaning devices takes a while: whoever goes on after a crash in its middle has nothing but this to tell the end from.
        if (record.HeldDevices.Count > 0 && record.State != VmState.Stopping)
            Save(record = record with { End = cause, Failure = ended.Failure, State = VmState.Stopping });
        _directory.RemoveVmmDirectory();
        File.Delete(VmProcess.PidFile(_directory));
        if (!await _around.Devices.ReleaseAsync(_directory, Id, record.HeldDevices, ct))
            return false;
        if (_around.Devices.NotClean(record.HeldDevices) is [_, ..] unclean)
            ended = ended.With(ConditionReasons.NotCleaned.At(Now, string.Join(' ', unclean)));
        Save(ended);
        _around.Users.Return(record.User);
        _around.Log.LogInformation("Sandbox {Sandbox}: incarnation {Incarnation} ended: {Cause}", Id, record.Incarnation, cause);
        return true;
    }

    private async Task RemoveAsync(CancellationToken ct)
    {
        await LetGoAsync();
        if (_around.Cgroups.Of(Id) is { } cgroup && Directory.Exists(cgroup.FullPath))
        {
            cgroup.KillAll();
            if (!cgroup.Remove())
                return;
        }
        if (Interlocked.Exchange(ref _console, null) is { } console)
            await console.DisposeAsync();
        _directory.Remove();
        await _around.Devices.ReleaseAsync(_directory, Id, _around.Devices.HeldBy(Id), ct);
        _record = null;
        IsGone = true;
        Publish();
    }

    private void OpenConsole()
    {
        _console ??= _around.Vmm.OpenConsole(_directory);
        _consoleProblem = null;
    }

    private void OpenConsoleIfPossible()
    {
        try
        {
            OpenConsole();
        }
        catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
        {
            _consoleProblem = NodeReasons.ConsoleUnavailable.ToFailure(Now, $"It is that of {Id}: {problem.Message}");
            _around.Log.LogError("{Reason}: {Message} {Remedy}", _consoleProblem.Reason, _consoleProblem.Message, _consoleProblem.Remedy);
        }
    }

    private static VmCgroup? CgroupOf(VmRecord record) => record.Cgroup is { } path ? new VmCgroup(path) : null;
}
