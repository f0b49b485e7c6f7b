using Api.Http;
using Api.Replicas;
using Contracts;

namespace Api.Guests;

/// <summary>Why something could not be done in a guest, as an answer: a code, a sentence and what to do.</summary>
public static class GuestProblems
{
    public static IResult NodeElsewhere(HttpContext http) =>
        Elsewhere(http, "The sandbox's node is connected to no replica of the API that is known to be there right now. Send the request again.");

    public static IResult NoAddress(HttpContext http) =>
        Elsewhere(http, $"The sandbox's node is connected to another replica of the API, which has told no address to pass the request on to. Set {ReplicaSettings.Name} there, or send the request to that replica.");

    public static IResult ReplicaNotReached(HttpContext http) =>
        Elsewhere(http, $"The replica of the API to which the sandbox's node is connected cannot be reached at the address that it tells ({ReplicaSettings.Name}). Nothing was begun: send the request again.");

    private static IResult Elsewhere(HttpContext http, string detail)
    {
        http.Response.Headers.RetryAfter = "1";
        return ApiProblem.Of(503, "node_elsewhere", detail);
    }

    public static IResult NotAnswering(HttpContext http)
    {
        http.Response.Headers.RetryAfter = "5";
        return ApiProblem.Of(503, "guest_not_answering", "The guest's agent, the worker of its node, or the replica of the API that it is connected to, did not answer in time. Send the request again; if that does not help, restart the sandbox or update the worker.");
    }

    public static IResult TooMany() =>
        ApiProblem.Of(429, "too_many_sessions", $"A sandbox has at most {GuestSessions.MaxOfSandbox} commands, files and tunnels open at a time; wait for one, or end one.");

    /// <summary>Of a session that ended before it had begun, or that did not do what was asked.</summary>
    public static IResult Of(HttpContext http, SessionEnded ended) => ended.Reason switch
    {
        SessionReasons.AgentTooOld => ApiProblem.Of(409, "agent_too_old", "The agent in the guest is older than this: build the image anew, and restart the sandbox from it."),
        SessionReasons.AgentNotReady => ApiProblem.Of(409, "agent_not_ready", "No agent answers in the guest: it is still booting, or its image has none. Wait for the condition GuestReady."),
        SessionReasons.TooManySessions => TooMany(),
        SessionReasons.NotFound => ApiProblem.Of(404, "file_not_found", "The guest has no file, or no directory, of that path."),
        SessionReasons.NotAFile => ApiProblem.Of(409, "not_a_file", "What the guest has at that path is no regular file."),
        SessionReasons.Changed => ApiProblem.Of(409, "file_changed", "The file changed while it was read. Read it again, or have the guest copy what goes on changing and read the copy."),
        SessionReasons.KeyEnded => ApiProblem.Of(401, "key_ended", "The key, or the session, that asked for it has ended meanwhile, and so was ended what it had open in the guest."),
        SessionReasons.NotPermitted => ApiProblem.Of(409, "file_not_permitted", "The guest's system does not permit that at that path."),
        SessionReasons.TooLarge => ApiProblem.Of(413, "body_too_large", "The file is larger than this service is set to take."),
        SessionReasons.NoSpace => ApiProblem.Of(409, "guest_disk_full", "The guest has no space left for the file."),
        SessionReasons.NothingListens => ApiProblem.Of(409, "nothing_listens", $"Nothing in the guest listens at 127.0.0.1:{GuestSessions.SshPort} (NothingListens): its image has no SSH server, or it is not started."),
        SessionReasons.InvalidRequest => ApiProblem.Of(422, "guest_refused", ended.Detail is { } what ? $"The guest's agent does not take it: {what}." : "The guest's agent does not take it."),
        SessionReasons.AgentLost or SessionReasons.NodeLost => NotAnswering(http),
        _ => ApiProblem.Of(409, "guest_failed", ended.Detail is { } why ? $"The guest's system refused it: {why}." : "The guest's system refused it."),
    };
}
