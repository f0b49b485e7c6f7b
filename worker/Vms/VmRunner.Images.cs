using System.Globalization;
using Contracts;
using Worker.Images;

namespace Worker.Vms;

// A sandbox of a registered image waits, before its start, until the image's files are on the node. Nothing of that is recorded: after a crash it asks for them again.
public sealed partial class VmRunner
{
    private Condition? _waiting;

    /// <summary>What must stay on the node for it: what it runs from, and what it is to run from.</summary>
    internal IEnumerable<PlannedImage> UsedImages
    {
        get
        {
            if (Volatile.Read(ref _planned) is { Desired: DesiredState.Running, Spec.Registered: { } planned })
                yield return planned;
            if (Volatile.Read(ref _record) is { HasEnded: false } && Volatile.Read(ref _spec)?.Registered is { } used)
                yield return used;
        }
    }

    /// <summary>False: not yet, which is told; the next nudge looks again.</summary>
    private bool HasImage(PlannedSandbox planned)
    {
        // Nothing of its image is started by a simulated machine.
        if (planned.Spec is not { Registered: { } image, Vmm: not Vmm.Simulated } || _around.Images is not { } cache)
            return true;
        switch (cache.Want(planned.Spec.Image, image))
        {
            case CachedImage.Coming coming:
                Wait(planned, ConditionReasons.ImageBeingFetched.At(Now, string.Create(CultureInfo.InvariantCulture, $"{Portion(coming)} % of {coming.Total} bytes are here.")));
                return false;
            case CachedImage.Delayed delayed:
                Wait(planned, ConditionReasons.ImageDelayed.At(Now, $"{delayed.Reason.Code}: {delayed.Reason.Say(delayed.Detail)} {delayed.Reason.Remedy}"));
                return false;
            default:
                return true;
        }
    }

    /// <summary>In steps of five, so that it is told now and then only.</summary>
    private static long Portion(CachedImage.Coming coming) => coming.Total == 0 ? 0 : (long)(coming.Bytes * 20.0 / coming.Total) * 5;

    private void Wait(PlannedSandbox planned, Condition why)
    {
        if (_waiting is { } told && (told.Reason, told.Message) == (why.Reason, why.Message) && _view?.Sandbox.Incarnation == planned.Incarnation)
            return;
        _waiting = _waiting?.Reason == why.Reason ? why with { Since = _waiting.Since } : why;
        _view = new VmView(new ReportedSandbox(Id, planned.Incarnation, VmState.Preparing, [_waiting], null, null, null, null, null, null, null, null), _record?.HeldDevices ?? []);
        _published(this);
    }
}
