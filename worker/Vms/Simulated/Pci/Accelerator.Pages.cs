using Worker.Vms.Simulated.Iommu;

namespace Worker.Vms.Simulated.Pci;

// ATS and PRI of the function (PCI Express Base Specification, 10.2 to 10.4): translation requests, and page requests in groups of one PASID.
internal sealed partial class Accelerator
{
    private const int Groups = 512, MaxTries = 32;
    private const ulong PermissionBits = 7, AbortedBit = 8, PageBits = ~0xFFFUL;

    private struct Group
    {
        public bool Waits;
        public int Requests;
        public long Since;
    }

    private readonly Group[] _groups = new Group[Groups];
    private readonly Queue<int> _waiting = new();
    private int _nextGroup;
    private bool _closing;

    public int Credits { get; private set; }
    public int AllCredits => _model.Credits;
    public int RequestsOutstanding { get; private set; }
    public bool PagesEnabled { get; private set; } = true;
    public long ResponsesToNothing { get; private set; }
    public long PageRequestsSent { get; private set; }

    /// <summary>The translation request of a slot, as it comes to the SMMU.</summary>
    public Transaction TranslationRequest(int slot) => new(StreamId, _slots[slot].Pasid, _slots[slot].Address, _slots[slot].Write, true, Index, slot, Epoch);

    /// <summary>By the SMMU: a translation is on its way to the device.</summary>
    public void SendCompletion(int slot, ulong output, Permissions permissions, bool aborted) =>
        _agenda.After(_timings.Link, Activity.AtsCompletionArrives, Address(), slot, (output & PageBits) | (ulong)permissions | (aborted ? AbortedBit : 0));

    public void CompletionArrives(int slot, ulong detail)
    {
        ref var work = ref _slots[slot];
        var permissions = (Permissions)(detail & PermissionBits);
        if ((detail & AbortedBit) != 0)
        {
            Abort(slot);
            return;
        }
        var output = (detail & PageBits & ~((1UL << _shift) - 1)) | (work.Address & ((1UL << _shift) - 1));
        if (permissions != Permissions.None)
        {
            AtsTranslated++;
            _atc.Fill((ulong)work.Pasid, work.Address, _shift, _shift, output, permissions, Permissions.All);
        }
        if ((permissions & (work.Write ? Permissions.Write : Permissions.Read)) != 0)
            Finish(slot, output);
        else if (!PagesEnabled || ++work.Tries > MaxTries)
            Abort(slot);
        else
            WaitForPage(slot);
    }

    public PageRequest PageRequestOf(int slot, bool last) => new(StreamId, _slots[slot].Pasid, _slots[slot].Group, last, true, _slots[slot].Write, _slots[slot].Address & PageBits);

    public void GroupCloses()
    {
        _closing = false;
        SendGroups(whole: false);
    }

    public void ResponseArrives(int number, ulong detail)
    {
        ref var group = ref _groups[number];
        if (!group.Waits)
        {
            ResponsesToNothing++;
            return;
        }
        group.Waits = false;
        Credits += group.Requests;
        RequestsOutstanding -= group.Requests;
        var response = (PageResponse)(byte)detail;
        if ((detail & Smmu.AutomaticResponse) != 0)
            _pageFaults.AutoAnswer();
        else
            _pageFaults.Answer(response, _clock.Now - group.Since);
        if (response == PageResponse.Failure)
            PagesEnabled = false;
        for (var slot = 0; slot < _slots.Length; slot++)
        {
            if (_slots[slot].State != SlotState.WaitsForPage || _slots[slot].Group != number)
                continue;
            if (response == PageResponse.Success)
                Ask(slot);
            else
                Abort(slot);
        }
        if (!PagesEnabled)
            while (_waiting.TryDequeue(out var slot))
                Abort(slot);
        SendGroups(whole: false);
    }

    /// <summary>By the driver, after a failure.</summary>
    public void EnablePages() => PagesEnabled = true;

    /// <summary>Where messages to it go, until its next reset.</summary>
    public int Address() => Index | (Epoch << 8);

    private void Ask(int slot)
    {
        _slots[slot].State = SlotState.Asks;
        AtsRequests++;
        _agenda.After(_timings.Link, Activity.AtsRequestArrives, Address(), slot);
    }

    private void WaitForPage(int slot)
    {
        _slots[slot].State = SlotState.WaitsForGroup;
        _waiting.Enqueue(slot);
        if (_waiting.Count >= _model.GroupSize)
            SendGroups(whole: true);
        if (_waiting.Count == 0 || _closing)
            return;
        _closing = true;
        _agenda.After(_timings.GroupWindow, Activity.PageGroupCloses, Address());
    }

    /// <summary>As many groups as there are credits for; a smaller one only when it is not to wait any longer.</summary>
    private void SendGroups(bool whole)
    {
        while (Credits > 0 && _waiting.Count > (whole ? _model.GroupSize - 1 : 0))
        {
            var number = FreeGroup();
            if (number < 0)
                return;
            var pasid = _slots[_waiting.Peek()].Pasid;
            var requests = 0;
            var last = -1;
            while (requests < Math.Min(_model.GroupSize, Credits) && _waiting.TryPeek(out var slot) && _slots[slot].Pasid == pasid)
            {
                _waiting.Dequeue();
                (_slots[slot].State, _slots[slot].Group) = (SlotState.WaitsForPage, number);
                if (last >= 0)
                    _agenda.After(_timings.Link, Activity.PageRequestArrives, Address(), last, 0);
                last = slot;
                requests++;
            }
            _agenda.After(_timings.Link, Activity.PageRequestArrives, Address(), last, 1);
            _groups[number] = new Group { Waits = true, Requests = requests, Since = _clock.Now };
            Credits -= requests;
            RequestsOutstanding += requests;
            PageRequestsSent += requests;
            _pageFaults.Raise();
        }
    }

    /// <summary>In turn, so that a number is used again as late as can be.</summary>
    private int FreeGroup()
    {
        for (var tried = 0; tried < Groups; tried++)
        {
            var number = _nextGroup = (_nextGroup + 1) % Groups;
            if (!_groups[number].Waits)
                return number;
        }
        return -1;
    }

    private void ForgetGroups()
    {
        for (var number = 0; number < Groups; number++)
            if (_groups[number].Waits)
            {
                _groups[number].Waits = false;
                _pageFaults.Cancel();
            }
        _waiting.Clear();
        _closing = false;
        (Credits, RequestsOutstanding, PagesEnabled) = (_model.Credits, 0, true);
    }
}
