using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Vms.Kvmtool;

namespace Worker.Vms;

// What the VMM and the guest say, taken into the record. Messages of an earlier incarnation are dropped.
public sealed partial class VmRunner
{
    private async Task HandleOneAsync(VmEvent message, CancellationToken ct)
    {
        try
        {
            await HandleAsync(message, ct);
        }
        catch (Exception problem) when (problem is not OperationCanceledException || !ct.IsCancellationRequested)
        {
            _around.Log.LogError(problem, "Sandbox {Sandbox}: {Message} could not be taken in", Id, message.GetType().Name);
        }
    }

    private async Task HandleAsync(VmEvent message, CancellationToken ct)
    {
        if (_record is not { HasEnded: false } record || (message is not (VmNudge or VmNodeShutsDown) && message.Incarnation != record.Incarnation))
            return;
        switch (message)
        {
            case VmConfirmed when record.State == VmState.Preparing:
                Save(Confirmed(record));
                break;
            case VmGuestEnded ended when record.End is null:
                Save(record with { End = ended.Cause, EndedAt = ended.At, State = VmState.Stopping });
                break;
            case VmNodeShutsDown when record.End is null:
                Save(record with { End = EndCause.NodeShutDown, State = VmState.Stopping });
                break;
            case VmAgentSaid { Message: AgentReady ready, At: var at } when record.End is null:
                await WelcomeAsync(record, ready, at, ct);
                break;
            case VmAgentSaid { Message: AgentConfigured } when record is { ConfiguredBootId: null, Guest: { } guest }:
                Save(record with { ConfiguredBootId = guest.BootId });
                break;
            case VmAgentSaid { Message: AgentProbe probe } when _probesTaken++ < MaxProbes:
                Save(Judged(record with { Probe = GuestReports.Probes(probe) }));
                break;
            case VmStormJudged storm when record.End is null:
                Save(WithStorm(record, storm));
                break;
        }
    }

    private VmRecord Confirmed(VmRecord record)
    {
        var kvmtool = _spec?.Vmm == Vmm.Kvmtool;
        var confirmed = record.With(ConditionReasons.VmmConfirmed.At(Now, kvmtool ? "kvmtool has no power button: a stop ends the guest at once." : null));
        return record.HasAgent
            ? confirmed with { State = VmState.Booting }
            : (confirmed with { State = VmState.Running })
                .With((kvmtool ? ConditionReasons.NoAgentUnderKvmtool : ConditionReasons.NoAgentToBeReady).At(Now));
    }

    private async Task WelcomeAsync(VmRecord record, AgentReady ready, DateTimeOffset at, CancellationToken ct)
    {
        // One incarnation is one boot: later facts that differ are a guest's invention.
        var facts = record.Guest ?? GuestReports.Facts(ready);
        var before = record;
        record = (record with
        {
            State = record.State == VmState.Stopping ? VmState.Stopping : VmState.Running,
            Guest = facts,
            GuestReadyAt = record.GuestReadyAt ?? at,
        })
            .With(ConditionReasons.VmmConfirmed.At(Now))
            .With(_spec?.Vmm == Vmm.Simulated ? ConditionReasons.SimulatedGuestReady.At(at) : ConditionReasons.AgentReady.At(at, $"Its kernel is {facts.Kernel}."));
        if (before.Guest is null || before.State != record.State)
            Save(record);
        if (record.ConfiguredBootId is not null || _spec is not { } spec)
            return;
        // Sent at each Ready until the agent has said that it is done; it runs user data once a boot, however often it is told.
        await CommandAsync(token => _vm!.SendAsync(new AgentConfigure(spec.UserData, spec.SshKeys), token), "configuration", ct);
    }

    private VmRecord Judged(VmRecord record)
    {
        if (_spec is not { } spec)
            return record;
        var verdicts = spec.Devices.Select(_around.Devices.Judge).OfType<JudgedDevice>().ToList();
        var (condition, verdict) = spec.Vmm == Vmm.Kvmtool
            ? KvmtoolVerdict.Judge(verdicts, Now)
            : SvaCondition.Judge(spec.Viommu, verdicts, record.HasAgent, record.Probe, Now);
        return record.With(condition) with { Verdict = verdict };
    }
}
