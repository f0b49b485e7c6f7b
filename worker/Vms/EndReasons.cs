using Contracts;

namespace Worker.Vms;

// How a run of a guest ended: one entry for each EndCause but Failed, which has a reason of its own from another table. A code is its cause's name, but for one.
// docs/neoverse-node.md is written from it.
public static class EndReasons
{
    private const string Nothing = "Nothing is wrong.", Again = "Start the sandbox again.", Read = "Read the serial console, then start the sandbox again.";

    public static readonly IReadOnlyList<(EndCause Cause, Reason Reason)> All =
    [
        // Only the API knows who wanted that; records keep the name that the cause had first.
        (EndCause.StoppedByUser, new Reason(StopReasons.AsPlanned, "The guest was stopped as its plan said. Who wanted that is told by the event before, and by the sandbox's failure where no user did.", Nothing)),
        Entry(EndCause.GuestPoweredOff, "The guest powered itself off.", Nothing),
        Entry(EndCause.NodeShutDown, "The node was shut down, and its guests with it.", Again),
        Entry(EndCause.GuestPanicked, "The guest's kernel panicked.", Read),
        Entry(EndCause.GuestReset, "The guest reset its machine without powering off.", Read),
        Entry(EndCause.GuestEndUnknown, "The guest ended while nobody watched, and how could not be read.", Read),
        Entry(EndCause.VmmKilled, "The VMM ended without a word: it was killed or crashed.", "Look for the kernel's out-of-memory killer on the node, then start the sandbox again."),
        Entry(EndCause.VmmExited, "The VMM was told to end by somebody else.", Again),
        Entry(EndCause.VmmLost, "The node no longer has this guest; it was restarted or its state was removed.", Again),
    ];

    public static Reason Of(EndCause cause) => All.FirstOrDefault(entry => entry.Cause == cause).Reason ?? StartReasons.VmmStartFailed;

    private static (EndCause, Reason) Entry(EndCause cause, string message, string remedy) => (cause, new Reason(cause.ToString(), message, remedy));
}
