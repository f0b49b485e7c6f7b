namespace Api.Http;

/// <summary>Every code that an answer of the API can carry, with its status, what it says, and the tags of the endpoints that give it (none: any). The document of the API is written from it;
/// a test reads the sources and finds a code that is not here.</summary>
public static class ErrorCodes
{
    public sealed record ErrorCode(string Code, int Status, string Says, params string[] Tags);

    /// <summary>Of workers' connections, which the document does not describe.</summary>
    private const string NodeHub = "NodeHub";

    public static readonly IReadOnlyList<ErrorCode> All =
    [
        new("invalid_request", 400, "The request could not be read: its body is not the JSON that is expected, or a parameter has another type."),
        new("idempotency_key_invalid", 400, "Idempotency-Key takes one value of 1 to 255 visible ASCII characters."),
        new("websocket_expected", 400, "The address takes a WebSocket.", "Guests"),
        new("unauthenticated", 401, "No key was sent, or it is not known, has expired, or was rotated away."),
        new("key_ended", 401, "The key, or the session, ended while it was being done; what it had open in the guest was ended.", "Guests"),
        new("unknown_key", 401, "The key in the body is not known, or has expired.", "Session"),
        new("join_token_invalid", 401, "The join token is not known, or has expired.", "Nodes"),
        new("node_decommissioned", 401, "The node was taken out of service.", NodeHub),
        new("node_token_replaced", 401, "The node has another token by now.", NodeHub),
        new("node_token_revoked", 401, "An operator has revoked the node's token.", NodeHub),
        new("forbidden", 403, "The key's role, or its project, may not do that."),
        new("foreign_origin", 403, "A request by cookie came from another origin than the service's own page."),
        new("request_header_missing", 403, "A request by cookie that changes something needs the header X-Sandbox-Request: 1."),
        new("sign_in_refused", 403, "The identity provider's answer could not be taken, or names no project or role.", "Session"),
        new("not_found", 404, "There is nothing at this address."),
        new("sandbox_not_found", 404, "There is no such sandbox in the caller's project.", "Sandboxes", "Faults", "Placement", "Guests"),
        new("exec_not_found", 404, "No such command runs.", "Guests"),
        new("file_not_found", 404, "The guest has no file, or no directory, of that path.", "Guests"),
        new("key_not_found", 404, "There is no such key in the caller's project.", "Keys"),
        new("project_not_found", 404, "There is no such project.", "Projects", "Sandboxes", "Keys", "Placement"),
        new("node_not_found", 404, "There is no such node.", "Nodes"),
        new("device_not_found", 404, "There is no such device.", "Devices"),
        new("webhook_not_found", 404, "There is no such webhook endpoint in the caller's project.", "Webhooks"),
        new("delivery_not_found", 404, "The endpoint has no delivery of that number.", "Webhooks"),
        new("registered_image_not_found", 404, "There is no such image that the caller's project has registered, or that all share.", "Images"),
        new("image_file_not_found", 404, "The image was registered without a file of that role.", "Images"),
        new("image_file_not_planned", 404, "No sandbox of the node's plan starts from such a file.", NodeHub),
        new("method_not_allowed", 405, "The address does not take that method."),
        new("upload_too_slow", 408, "Less than a MiB of the file came in a minute.", "Images"),
        new("changed_meanwhile", 409, "Somebody else changed it at the same time."),
        new("idempotency_in_progress", 409, "A request with that Idempotency-Key is being done."),
        new("quota_exceeded", 409, "A quota of the project is used up; errors names which.", "Sandboxes", "Images", "Placement"),
        new("name_taken", 409, "The name is taken.", "Sandboxes", "Projects", "Images", "Placement"),
        new("image_in_use", 409, "Sandboxes name the image.", "Images"),
        new("too_many_images", 409, "There are as many shared images as there may be.", "Images"),
        new("wrong_phase", 409, "The sandbox is in a phase in which that cannot be done.", "Sandboxes", "Guests"),
        new("being_deleted", 409, "The sandbox is being deleted.", "Sandboxes"),
        new("agent_too_old", 409, "The guest's agent does not have this yet: build the image anew.", "Guests"),
        new("agent_not_ready", 409, "No agent answers in the guest.", "Guests"),
        new("not_a_file", 409, "What the guest has at the path is no regular file.", "Guests"),
        new("file_changed", 409, "The file changed while it was read.", "Guests"),
        new("file_not_permitted", 409, "The guest's system does not permit that at the path.", "Guests"),
        new("guest_disk_full", 409, "The guest has no space left.", "Guests"),
        new("nothing_listens", 409, "Nothing in the guest listens at its SSH port.", "Guests"),
        new("guest_failed", 409, "The guest's system refused it.", "Guests"),
        new("too_many_keys", 409, "The project has as many keys as it may.", "Keys", "Projects"),
        new("last_admin_key", 409, "It is the project's last admin key that does not expire.", "Keys"),
        new("too_many_projects", 409, "There are as many projects as there may be.", "Projects"),
        new("project_not_empty", 409, "The project has sandboxes.", "Projects"),
        new("operating_project", 409, "The project runs the service.", "Projects"),
        new("not_quarantined", 409, "The device is not quarantined.", "Devices"),
        new("too_many_join_tokens", 409, "There are as many join tokens as there may be.", "Nodes"),
        new("join_token_used", 409, "Another machine has used the join token.", "Nodes"),
        new("node_exists", 409, "There is a node of that name.", "Nodes"),
        new("node_reports", 409, "The node reports, so that what runs there is not known to have ended.", "Nodes"),
        new("node_not_empty", 409, "Sandboxes may run on the node.", "Nodes"),
        new("node_in_maintenance", 409, "The node is in maintenance.", "Nodes"),
        new("node_in_use", 409, "The node reports and cannot be replaced.", "Nodes"),
        new("too_many_webhooks", 409, "The project has as many webhook endpoints as it may.", "Webhooks"),
        new("webhook_disabled", 409, "The webhook endpoint is disabled.", "Webhooks"),
        new("events_expired", 410, "What came after that number is not kept any more; oldest and last say what is.", "Events"),
        new("precondition_failed", 412, "It has changed since the version that If-Match names."),
        new("body_too_large", 413, "The body is larger than the endpoint takes: 256 KiB, or what the service takes of a file."),
        new("unsupported_media_type", 415, "Send application/json in UTF-8."),
        new("validation_failed", 422, "Fields or parameters are not valid; errors names each with what it takes."),
        new("idempotency_key_reused", 422, "The Idempotency-Key was used for another request."),
        new("image_not_found", 422, "No image of that name is registered, and no node has one.", "Sandboxes", "Placement"),
        new("image_file_differs", 422, "The file's size or SHA-256 is not the one that the image was registered with.", "Images"),
        new("image_disk_refused", 422, "The file is no disk of the registered format, or not whole in itself.", "Images"),
        new("device_class_not_found", 422, "No node has devices of the class.", "Sandboxes", "Placement"),
        new("guest_refused", 422, "The guest's agent does not take it.", "Guests"),
        new("precondition_required", 428, "If-Match is missing."),
        new("rate_limited", 429, "Too many requests, or too many secrets that were not good; Retry-After says when to come again."),
        new("too_many_streams", 429, "The key has as many event streams open as it may.", "Events"),
        new("too_many_sessions", 429, "The sandbox has as many commands, files and tunnels open as it may.", "Guests"),
        new("too_many_uploads", 429, "As many files as may come in at once; Retry-After says when to come again.", "Images"),
        new("internal_error", 500, "Something failed on the service's side."),
        new("node_elsewhere", 503, "The sandbox's node is not connected to this replica, and the request could not be passed on to another; Retry-After says when to come again.", "Guests"),
        new("guest_not_answering", 503, "The guest's agent did not answer in time, or was lost; Retry-After says when to come again.", "Guests"),
        new("image_files_busy", 503, "As many nodes as may fetch files of images of this replica.", NodeHub),
        new("database_unavailable", 503, "The database does not answer; Retry-After says when to come again."),
    ];

    /// <summary>Of addresses that the document describes no operation of: the wrong method, and where a browser comes back to from an identity provider.</summary>
    public static IEnumerable<ErrorCode> OfNoOperation => All.Where(c => c.Code is "method_not_allowed" or "sign_in_refused");

    public static IEnumerable<ErrorCode> Of(int status, string tag, bool signedIn, bool post) => All.Where(c => c.Status == status && (c.Tags.Length == 0 || c.Tags.Contains(tag))
        && (c.Status is not (401 or 403) || signedIn != (c.Code is "unknown_key" or "join_token_invalid" or "sign_in_refused"))
        && (post || !c.Code.StartsWith("idempotency", StringComparison.Ordinal)));
}
