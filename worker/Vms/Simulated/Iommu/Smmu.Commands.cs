namespace Worker.Vms.Simulated.Iommu;

// The command queue (IHI 0070, 4): commands are consumed in order, one after the other, and take effect when consumed. Walks that began before an
// invalidation and could use what it removes are overtaken: they serve their transaction and fill nothing, and SYNC waits for them.
internal sealed partial class Smmu
{
    private const int Tags = 32;

    private struct Invalidation
    {
        public int Device, Substream, SizeShift;
        public ulong Address;
        public bool Sent;
        public uint Number;
    }

    private readonly Invalidation[] _invalidations = new Invalidation[Tags];
    private int _overtaken, _unanswered;
    private uint _numbers;
    private bool _commandDue, _syncWaits, _tagWaits, _timedOut;

    /// <summary>A command was taken out of the queue: there is room for another.</summary>
    public Action? CommandConsumed { get; set; }
    /// <summary>A SYNC has completed; with true, an ATC invalidation before it was not answered in time (CERROR_ATC_INV_SYNC).</summary>
    public Action<bool>? SyncCompleted { get; set; }
    public long CommandsConsumed { get; private set; }
    public long InvalidationsTimedOut { get; private set; }
    public long PageResponsesSent { get; private set; }

    public bool TryPush(Command command)
    {
        if (!Commands.TryPut([command.Word0, command.Word1]))
            return false;
        Kick();
        return true;
    }

    public void CommandIsDue()
    {
        _commandDue = false;
        Span<ulong> words = stackalloc ulong[Command.Words];
        Commands.Peek(words);
        if (Execute(new Command(words[0], words[1])))
            Consume();
    }

    /// <summary>A device has dropped what an invalidation names, and nothing of it is used any more.</summary>
    public void InvalidationIsAnswered(int tag, uint number)
    {
        ref var invalidation = ref _invalidations[tag];
        if (!invalidation.Sent || invalidation.Number != number)
            return;
        invalidation.Sent = false;
        _unanswered--;
        if (_tagWaits)
        {
            _tagWaits = false;
            Kick();
        }
        TryCompleteSync();
    }

    public void InvalidationTimesOut(int tag, uint number)
    {
        if (!_invalidations[tag].Sent || _invalidations[tag].Number != number)
            return;
        InvalidationsTimedOut++;
        _timedOut = true;
        InvalidationIsAnswered(tag, number);
    }

    /// <summary>What the link brings to the device.</summary>
    public (int Substream, ulong Address, int SizeShift, uint Number) InvalidationOf(int tag) =>
        (_invalidations[tag].Substream, _invalidations[tag].Address, _invalidations[tag].SizeShift, _invalidations[tag].Number);

    private void Kick()
    {
        if (_commandDue || _syncWaits || _tagWaits || Commands.IsEmpty)
            return;
        _commandDue = true;
        _agenda.After(_timings.Command, Activity.CommandIsDue);
    }

    private void Consume()
    {
        Commands.Advance();
        CommandsConsumed++;
        CommandConsumed?.Invoke();
        Kick();
    }

    private void TryCompleteSync()
    {
        if (!_syncWaits || _overtaken > 0 || _unanswered > 0)
            return;
        _syncWaits = false;
        var failed = _timedOut;
        _timedOut = false;
        Consume();
        SyncCompleted?.Invoke(failed);
    }

    /// <summary>False for a command that is not done yet.</summary>
    private bool Execute(Command command)
    {
        switch (command.Opcode)
        {
            case Opcode.ConfigureSte or Opcode.ConfigureCdAll:
                DropContexts(command.StreamId, null);
                break;
            case Opcode.ConfigureAll:
                DropContexts(null, null);
                break;
            case Opcode.ConfigureCd:
                DropContexts(command.StreamId, command.SubstreamId);
                break;
            case Opcode.TlbiAddress:
                _tlb.InvalidateRange(TranslationContext.TagOf(command.Vmid, command.Asid), command.Address, 12);
                Overtake(TranslationContext.TagOf(ushort.MaxValue, ushort.MaxValue), TranslationContext.TagOf(command.Vmid, command.Asid), command.Address);
                break;
            case Opcode.TlbiAsid:
                _tlb.InvalidateTags(TranslationContext.TagOf(ushort.MaxValue, ushort.MaxValue), TranslationContext.TagOf(command.Vmid, command.Asid));
                Overtake(TranslationContext.TagOf(ushort.MaxValue, ushort.MaxValue), TranslationContext.TagOf(command.Vmid, command.Asid), null);
                break;
            case Opcode.TlbiVm:
                _tlb.InvalidateTags(TranslationContext.TagOf(ushort.MaxValue, 0, false), TranslationContext.TagOf(command.Vmid, 0, false));
                Overtake(TranslationContext.TagOf(ushort.MaxValue, 0, false), TranslationContext.TagOf(command.Vmid, 0, false), null);
                break;
            case Opcode.TlbiAll:
                _tlb.InvalidateAll();
                Overtake(0, 0, null);
                break;
            case Opcode.InvalidateAtc:
                return TrySend(command);
            case Opcode.RespondToPages:
                Respond(command);
                break;
            case Opcode.Resume:
                Resume(command);
                break;
            case Opcode.Sync:
                _syncWaits = true;
                TryCompleteSync();
                return false;
        }
        return true;
    }

    private void DropContexts(uint? stream, int? substream)
    {
        for (var slot = 0; slot < ContextSlots; slot++)
            if ((stream is null || _contexts[slot].StreamId == stream) && (substream is null || _contexts[slot].SubstreamId == substream || (substream == 0 && _contexts[slot].SubstreamId < 0)))
                _contextCached[slot] = false;
        for (var index = 0; index < _walksUsed; index++)
            if (_walks[index].Running && (stream is null || _walks[index].Context.StreamId == stream)
                && (substream is null || _walks[index].Context.SubstreamId == substream || (substream == 0 && _walks[index].Context.SubstreamId < 0)))
                Overtake(ref _walks[index]);
    }

    /// <summary>Of an address, whatever lies in the same block with it.</summary>
    private void Overtake(ulong mask, ulong bits, ulong? address)
    {
        if (_freeWalks.Count == MaxWalks)
            return;
        for (var index = 0; index < _walksUsed; index++)
        {
            ref var walk = ref _walks[index];
            if (walk.Running && (walk.Context.Tag & mask) == bits
                && (address is not { } one || (walk.Transaction.Address ^ one) >> Math.Max(walk.Context.PageShift, walk.Result.Fault == EventType.None ? walk.Result.LeafShift : 0) == 0))
                Overtake(ref walk);
        }
    }

    private void Overtake(ref Walk walk)
    {
        if (walk.Overtaken)
            return;
        walk.Overtaken = true;
        _overtaken++;
    }

    private bool TrySend(Command command)
    {
        var device = DeviceOf(command.StreamId);
        if (device < 0)
            return true;
        var tag = Array.FindIndex(_invalidations, invalidation => !invalidation.Sent);
        if (tag < 0)
        {
            _tagWaits = true;
            return false;
        }
        _invalidations[tag] = new Invalidation { Device = device, Substream = command.SubstreamId, Address = command.Address, SizeShift = command.Size + 12, Sent = true, Number = ++_numbers };
        _unanswered++;
        _agenda.After(_timings.Link, Activity.InvalidationArrives, device, tag, _numbers);
        return true;
    }

    private void Respond(Command command)
    {
        var device = DeviceOf(command.StreamId);
        if (device < 0)
            return;
        PageResponsesSent++;
        var code = command.Answer switch { PageAnswer.Success => PageResponse.Success, PageAnswer.Invalid => PageResponse.Invalid, _ => PageResponse.Failure };
        _agenda.After(_timings.Link, Activity.PageResponseArrives, _devices[device].Address(), command.Group, (ulong)code);
    }

    private int DeviceOf(uint stream)
    {
        for (var device = 0; device < _devices.Count; device++)
            if (_devices[device].StreamId == stream)
                return device;
        return -1;
    }
}
