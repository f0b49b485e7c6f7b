using Worker.Vms.Simulated.Guest;

namespace Worker.Vms.Simulated.Workloads;

/// <summary>A process that forks while the device writes to its memory: parent and child get a copy of each page that either writes to. At every second act
/// the child goes, in turns orderly and killed.</summary>
internal sealed class ForkAndWrite(WorkloadGround ground) : Workload(ground)
{
    private ProcessAddressSpace? _child;
    private bool _orderly;

    public override void Next(out Access access)
    {
        var ofChild = _child is { } child && Ground.Driver.IsBound(child) && (Ground.Random.Next() & 3) == 0;
        access = new Access(ofChild ? _child!.Pasid : Ground.Pasid, Ground.Anywhere(Ground.Pages), (Ground.Random.Next() & 3) != 0);
    }

    public override void Act()
    {
        if (_child is not { HasExited: false } child)
            _child = Ground.Driver.Fork(Ground.Space);
        else
            Ground.Driver.Unbind(child, _orderly = !_orderly);
    }
}
